"""``sys.stdout`` and ``sys.stderr`` of a worker: lines go to the daemon, tagged with the agent.

Lines are written straight to the pipe, so that the last words of a worker survive its death.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable

from agentd.client.context import current
from agentd.client.redaction import redactions

__all__ = ["TaggedStream", "capture", "flush"]

ATOMIC: int = 4096 - 64
"""Bytes of a line that a pipe takes in one piece (PIPE_BUF, pipe(7)), less the tag."""


class TaggedStream(io.TextIOBase):
    """A text stream that knows which agent writes to it."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.partial: dict[bytes, str] = {}
        """By agent: the beginning of a line that has no end yet."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The pipe itself; what is written there directly is not tagged."""
        return self._fd

    def write(self, text: str) -> int:
        """Whole lines go out at once, the rest with its end."""
        running = current()
        agent = running.agent if running is not None else b""
        whole, newline, rest = (self.partial.pop(agent, "") + text).rpartition("\n")
        if newline:
            self._emit(agent, whole.split("\n"))
        if len(rest) > ATOMIC:
            rest = self._emit_most(agent, rest)
        if rest:
            self.partial[agent] = rest
        return len(text)

    def _emit_most(self, agent: bytes, text: str) -> str:
        """Send of an endless line what cannot be part of a secret that is still to come."""
        if not redactions:
            self._emit(agent, [text])
            return ""
        clean = redactions.text(text)
        at = max(0, len(clean) - redactions.longest + 1)
        if at:
            self._emit(agent, [clean[:at]])
        return clean[at:]

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Each in turn."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send what has no end of line yet as a line."""
        running = current()
        agent = running.agent if running is not None else b""
        rest = self.partial.pop(agent, "")
        if rest:
            self._emit(agent, [rest])

    def _emit(self, agent: bytes, lines: list[str]) -> None:
        tag = b"\0" + agent.hex().encode() + b" " if agent else b""
        for line in lines:
            if redactions:
                line = redactions.text(line)  # noqa: PLW2901 - it is the line that is sent
            data = line.encode("utf-8", "replace").replace(b"\0", b"\\0")
            for at in range(0, len(data) or 1, ATOMIC):
                os.write(self._fd, tag + data[at : at + ATOMIC] + b"\n")


_captured: list[TaggedStream] = []


def capture() -> None:
    """Put tagged streams in the place of this process's standard output and error."""
    _captured[:] = sys.stdout, sys.stderr = TaggedStream(1), TaggedStream(2)


def flush() -> None:
    """Send what the running agent left without an end of line; called after each call."""
    for stream in _captured:
        if stream.partial:
            stream.flush()
