"""What agents and workers print: bounded rings of lines, read from the workers' pipes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["LineReader", "OutputBook", "Ring"]

MAX_LINE = 8192
"""Bytes of one line kept; the rest of a longer one becomes further lines."""
TAG = 34
"""NUL, 32 hex characters, space: the agent a line belongs to."""


class Ring:
    """The last lines of one source, numbered from 0 for as long as it lives."""

    __slots__ = ("lines", "next")

    def __init__(self, limit: int) -> None:
        self.lines: deque[tuple[int, float, str, str]] = deque(maxlen=limit)
        self.next = 0

    def add(self, stream: str, text: str) -> None:
        """Append a line, stamped with the wall clock (for display only)."""
        self.lines.append((self.next, time.time(), stream, text))
        self.next += 1

    def since(self, after: int) -> list[dict[str, Any]]:
        """Lines numbered ``after`` and above that are still kept."""
        return [
            {"seq": seq, "time": at, "stream": stream, "text": text}
            for seq, at, stream, text in self.lines
            if seq >= after
        ]

    def tail(self, count: int, stream: str = "stderr") -> str:
        """The last lines of a stream as one text."""
        texts = [text for _seq, _at, which, text in self.lines if which == stream]
        return "\n".join(texts[-count:])


class OutputBook:
    """Rings by source: an agent's id (bytes) or a worker's (text)."""

    def __init__(self, lines: int, echo: Callable[[bytes | str, str, str], None] | None) -> None:
        self._limit = lines
        self._rings: dict[bytes | str, Ring] = {}
        self._echo = echo
        self.on_line: Callable[[bytes | str], None] = lambda _source: None

    def ring(self, source: bytes | str) -> Ring:
        """The ring of a source, made on first use."""
        ring = self._rings.get(source)
        if ring is None:
            ring = self._rings[source] = Ring(self._limit)
        return ring

    def add(self, source: bytes | str, stream: str, text: str) -> None:
        """A line was written."""
        self.ring(source).add(stream, text)
        if self._echo is not None:
            self._echo(source, stream, text)
        self.on_line(source)

    def forget(self, source: bytes | str) -> None:
        """The source is gone for good."""
        self._rings.pop(source, None)


class LineReader:
    """Splits what arrives on a pipe into lines and tells whose they are."""

    def __init__(self, fd: int, worker: str, stream: str, book: OutputBook) -> None:
        self.fd = fd
        self._worker = worker
        self._stream = stream
        self._book = book
        self._rest = b""

    def read(self, most: int = 64 * 1024) -> bool:
        """Read what is there, up to ``most`` bytes; False at the end of the pipe."""
        try:
            data = os.read(self.fd, most)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if not data or len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            if line:
                self._take(line)
        return bool(data)

    def read_all(self) -> None:
        """Everything up to the end; only for a process that is dead."""
        while self.read():
            if not _readable(self.fd):
                break
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        source: bytes | str = self._worker
        if line[:1] == b"\0" and len(line) >= TAG and line[TAG - 1 : TAG] == b" ":
            try:
                source = bytes.fromhex(line[1 : TAG - 1].decode("ascii"))
                line = line[TAG:]
            except ValueError:
                pass
        self._book.add(source, self._stream, line.decode("utf-8", "replace"))


def _readable(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 0)[0])
