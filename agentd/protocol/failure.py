"""An error as a message, cut to what a header holds."""

from __future__ import annotations

from typing import Any, Final

from agentd.errors import AgentdError
from agentd.protocol.messages import Error

__all__ = ["error_message", "fit"]

MAX_TEXT: Final = 12_000
"""Characters of one fact. A traceback keeps its end, which tells the most."""


def error_message(number: int, error: AgentdError, codec: str = "") -> Error:
    """The answer to question ``number`` that failed with ``error``."""
    return Error(number, error.code, fit(error.message), fit(error.facts), codec)


def fit(value: Any) -> Any:
    """The value with long texts cut and what is not plain data as text."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            return f"[{len(value) - MAX_TEXT} characters left out] …{value[-MAX_TEXT:]}"
        return str(value)
    if isinstance(value, dict):
        return {str(k): fit(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [fit(v) for v in value[:100]]
    if value is None or isinstance(value, (bool, float, bytes)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    return fit(str(value))
