"""An error as a message, cut to what a header holds."""

from __future__ import annotations

from typing import Any, Final

from agentd.errors import AgentdError, ProtocolError
from agentd.protocol.messages import Error

__all__ = ["defect_message", "error_message", "fit", "unmet"]

MAX_TEXT: Final = 12_000
"""Bytes of one text. A traceback keeps its end, which tells the most."""
MAX_TOTAL: Final = 40_000
"""Bytes of one value with all its parts: with a message of ``MAX_TEXT`` beside it, it fits into a
header (64 KiB)."""
MAX_DEPTH: Final = 20
MAX_PARTS: Final = 100


def error_message(number: int, error: AgentdError, codec: str = "") -> Error:
    """The answer to question ``number`` that failed with ``error``; it always fits a header."""
    return Error(number, error.code, fit(error.message), fit(error.facts), codec)


def defect_message(number: int, where: str, kind: str, error: Exception) -> Error:
    """The answer to a question at which our own code failed: whoever asked is not left alone."""
    told = f"the {where} failed at {kind!r} ({type(error).__name__}); see its log"
    return error_message(number, AgentdError(told))


def unmet() -> ProtocolError:
    """What is told over a connection that did not begin with ``hello``."""
    return ProtocolError("say hello first: this connection is not known (any more)", unmet=True)


def fit(value: Any) -> Any:
    """The value as plain data, with long texts cut; whatever it is, a header holds it."""
    return _Fitter().fit(value, 0)


class _Fitter:
    """Fits one value, counting what it has used up."""

    def __init__(self) -> None:
        self._left = MAX_TOTAL

    def fit(self, value: Any, depth: int) -> Any:
        self._left -= 9  # what a number takes at most, and more than the frame of a text
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict) and depth < MAX_DEPTH:
            return {
                self._text(_told(k)): self.fit(v, depth + 1)
                for k, v in list(value.items())[:MAX_PARTS]
                if v is not None and self._left > 0
            }
        if isinstance(value, (list, tuple)) and depth < MAX_DEPTH:
            return [self.fit(v, depth + 1) for v in value[:MAX_PARTS] if self._left > 0]
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, bytes) and len(value) <= self._left:
            self._left -= len(value)
            return bytes(value)
        if isinstance(value, int) and -(2**63) <= value < 2**64:
            return int(value)
        return self._text(_told(value))

    def _text(self, text: str) -> str:
        # Lone surrogates (undecodable file names, for one) have no UTF-8.
        raw = str.encode(text, "utf-8", "backslashreplace")
        most = max(0, min(MAX_TEXT, self._left))
        if len(raw) > most:
            kept = raw[len(raw) - most :].decode("utf-8", "ignore")
            raw = f"[{len(text) - len(kept)} characters left out] …{kept}".encode()
        self._left -= len(raw)
        return raw.decode()


def _told(value: Any) -> str:
    """``str(value)``, which for a foreign object may fail (and does for an int of 5,000 digits)."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - anybody's __str__
        return f"<{type(value).__name__}: {type(error).__name__}>"
