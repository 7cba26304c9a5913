"""What agents and workers print: bounded rings of lines, read from the workers' pipes."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container
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
    """Rings by source: an agent's id (bytes) or a worker's (text); made with its first line."""

    def __init__(
        self,
        lines: int,
        echo: Callable[[bytes | str, str, str], None] | None,
        agents: Container[bytes],
    ) -> None:
        """``agents``: those whose lines are kept, as they are at any time."""
        self._limit = lines
        self._agents = agents
        self._workers: set[str] = set()
        self._rings: dict[bytes | str, Ring] = {}
        self._ended: OrderedDict[bytes | str, Ring] = OrderedDict()
        self._echo = echo
        self.on_line: Callable[[bytes | str], None] = lambda _source: None

    def open(self, worker: str) -> None:
        """Lines of this worker are kept from now on."""
        self._workers.add(worker)

    def ring(self, source: bytes | str) -> Ring:
        """The lines of a source; none of one that is not known (any more)."""
        return self._rings.get(source) or self._ended.get(source) or Ring(0)

    def note(self, source: bytes | str, stream: str, text: str) -> None:
        """Keep a line, if its source is known."""
        known = self._workers if isinstance(source, str) else self._agents
        if source not in self._rings and source in known:
            self._rings[source] = Ring(self._limit)
        self.ring(source).add(stream, text)

    def add(self, source: bytes | str, stream: str, text: str) -> None:
        """A line was written. One of a source that is not known is shown, but not kept."""
        self.note(source, stream, text)
        if self._echo is not None:
            self._echo(source, stream, text)
        self.on_line(source)

    def retire(self, agent: bytes) -> None:
        """The agent ended; its lines are kept for a while."""
        ring = self._rings.pop(agent, None)
        if ring is not None:
            self._ended[agent] = ring
            while len(self._ended) > ENDED:
                self._ended.popitem(last=False)

    def forget(self, worker: str) -> None:
        """The worker is gone for good."""
        self._workers.discard(worker)
        self._rings.pop(worker, None)


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
