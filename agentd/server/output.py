"""What agents and workers print: bounded rings of lines, read from the workers' pipes."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from typing import Any

__all__ = ["LineReader", "OutputBook", "Ring"]

MAX_LINE = 8192
"""Bytes of one line kept; the rest of a longer one becomes further lines."""
TAG = 34
"""NUL, 32 hex characters, space: the agent a line belongs to."""


ENDED = 100
"""Ended agents whose lines are kept: their last words matter most."""
READ = 64 * 1024
"""Bytes read at once: what a pipe holds (pipe(7)), so that one pipe does not hold up the others."""
LAST_READS = 2
"""Reads after a worker's death. What it left is one, as much as a pipe holds; a process that it
started and that still writes must not hold up the daemon, which splits 64 KiB in 15 ms."""


class Ring:
    """The last lines of one source, numbered from 0 for as long as it lives."""

    __slots__ = ("_limit", "lines", "next")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.lines: Collection[tuple[int, float, str, str]] = ()
        self.next = 0

    def add(self, stream: str, text: str) -> None:
        """Append a line, stamped with the wall clock (for display only)."""
        lines = self.lines
        if not isinstance(lines, deque):  # most agents never write one, and a deque takes 0.7 KiB
            lines = self.lines = deque(maxlen=self._limit)
        lines.append((self.next, time.time(), stream, text))
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
        self._ended: OrderedDict[bytes | str, Ring] = OrderedDict()
        self._echo = echo
        self.on_line: Callable[[bytes | str], None] = lambda _source: None

    def open(self, source: bytes | str) -> None:
        """Lines of this source are kept from now on."""
        self._rings[source] = Ring(self._limit)

    def ring(self, source: bytes | str) -> Ring:
        """The lines of a source; none of one that is not known (any more)."""
        return self._rings.get(source) or self._ended.get(source) or Ring(0)

    def add(self, source: bytes | str, stream: str, text: str) -> None:
        """A line was written. One of a source that is not known is shown, but not kept."""
        self.ring(source).add(stream, text)
        if self._echo is not None:
            self._echo(source, stream, text)
        self.on_line(source)

    def retire(self, source: bytes | str) -> None:
        """The source ended; its lines are kept for a while."""
        ring = self._rings.pop(source, None)
        if ring is not None and ring.next:
            self._ended[source] = ring
            while len(self._ended) > ENDED:
                self._ended.popitem(last=False)

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

    def read(self) -> bool:
        """Read what is there, up to ``READ`` bytes; False at the end of the pipe."""
        try:
            data = os.read(self.fd, READ)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self._feed(data)
        if not data:
            self._flush()
        return bool(data)

    def finish(self) -> None:
        """Take the last words of a process that is dead."""
        try:
            for _ in range(LAST_READS):
                data = os.read(self.fd, READ)
                if not data:
                    break
                self._feed(data)
        except OSError:  # nothing there now, though another process holds the pipe open
            pass
        self._flush()

    def _feed(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line:
                self._take(line)
        if len(self._rest) > MAX_LINE:
            self._flush()

    def _flush(self) -> None:
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
        for at in range(0, len(line) or 1, MAX_LINE):
            part = line[at : at + MAX_LINE]
            self._book.add(source, self._stream, part.decode("utf-8", "replace"))
