"""Streams: generator methods whose items go to readers as they come.

The producer may be as far ahead as its fastest reader has granted credit; without credit, or
without a reader, it stands still. Sent items are kept for a while, so that a reader who lost its
connection, or another one, can attach at an earlier offset. A stream holds its agent's turn until
it ends, as any call does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentd.client.fetching import Outcome
from agentd.errors import AgentdError, ResultExpired
from agentd.protocol import error_message
from agentd.protocol.messages import Attach, Call, Chunk, End, Message
from agentd.worker import coroutines
from agentd.worker.calls import OpenCall
from agentd.worker.interrupt import Interruptible
from agentd.worker.operations import agent_code, arguments, encode_value
from agentd.worker.source import Source

if TYPE_CHECKING:
    from agentd.worker.host import Host

__all__ = ["OpenStream", "Streams"]

KEEP_ITEMS: Final = 1024
KEEP_BYTES: Final = 16 * 1024 * 1024
KEEP_S: Final = 60.0
"""How far back a stream can be read, and how long it waits for a reader: after its end too."""
PROBE_S: Final = 1.0
"""How often a reader without credit is looked after."""


class _Kept(NamedTuple):
    offset: int
    codec: str
    frames: list[Any]
    size: int


class _Reader:
    """One who reads: where, how far, and how much more it takes."""

    __slots__ = ("credit", "number", "position", "source")

    def __init__(self, source: Source, number: int, position: int, credit: int) -> None:
        self.source = source
        self.number = number
        self.position = position
        self.credit = credit


class OpenStream(OpenCall):
    """A call whose value is a stream."""

    def __init__(self, host: Host, *args: Any) -> None:
        super().__init__(host, *args)
        self.on_loop = False
        self._change = threading.Condition()  # protects all below
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._next = 0
        self._last: tuple[Message, list[Any]] | None = None
        self._readers: dict[tuple[Any, int], _Reader] = {}
        self._quiet_since = time.monotonic()
        self._stopped = False
        self._read(self._source, self.call.id, 0, self.call.credit)

    # -- producing ---------------------------------------------------------------------------------
    def _run_code(self) -> tuple[str, list[Any]]:
        return self._operate()

    def _step(self, function: Callable[..., Any], *args: Any) -> Any:
        """One step of the agent's code: it can be interrupted, what follows it cannot.

        So a generator that is closed runs its ``finally`` undisturbed.
        """
        step = self._work = self.current.guard = Interruptible()
        if self._stopped:
            step.stop()
        return step.run(agent_code, function, *args)

    def _operate(self) -> tuple[str, list[Any]]:
        args, kwargs = arguments(self.call, self._payload, self._refs)
        value = self._step(self.hosted.call, self.call.name, args, kwargs)
        step = self._step
        if coroutines.is_async(value):
            value = agent_code(coroutines.settle, value)
            # Its cancellation reaches the task itself; the thread that waits is left alone.
            step = agent_code
        items: Iterator[Any] = step(iter, value)
        what = f"an item of {self.call.name}"
        try:
            while self._wait_for_credit():
                item = step(next, items, _DONE)
                if item is _DONE:
                    break
                codec, frames = encode_value(self.hosted, item, what, self._refs)
                self._keep(codec, frames)
        finally:
            close: Callable[[], None] | None = getattr(items, "close", None)
            if close is not None:
                agent_code(close)
        return "", []

    def _wait_for_credit(self) -> bool:
        with self._change:
            if self._may_go_on():
                return not self._stopped
            self.hosted.turns.stall(self)
        try:
            with self._change:
                while not self._may_go_on():
                    if not self._change.wait(PROBE_S):
                        self._probe()
                return not self._stopped
        finally:
            self.hosted.turns.resume(self)

    def _may_go_on(self) -> bool:
        return self._stopped or any(reader.credit > 0 for reader in self._readers.values())

    def _probe(self) -> None:
        """Find readers that are gone; end a stream that nobody has read for long."""
        for reader in list(self._readers.values()):
            if not reader.source.answer(Chunk(reader.number, self._next, 0)):
                self._drop(reader)
        if not self._readers and time.monotonic() - self._quiet_since > KEEP_S:
            self._stopped = True

    def _keep(self, codec: str, frames: list[Any]) -> None:
        size = sum(memoryview(part).nbytes for part in frames)
        with self._change:
            self._kept.append(_Kept(self._next, codec, frames, size))
            self._kept_bytes += size
            self._next += 1
            while len(self._kept) > KEEP_ITEMS or (
                self._kept_bytes > KEEP_BYTES and len(self._kept) > 1
            ):
                self._kept_bytes -= self._kept.popleft().size
            for reader in list(self._readers.values()):
                self._advance(reader)

    def _advance(self, reader: _Reader) -> None:
        """Send what the reader takes. Under the lock."""
        while reader.credit > 0 and reader.position < self._next:
            first = self._kept[0].offset if self._kept else self._next
            if reader.position < first:
                reader.source.answer(error_message(reader.number, _expired(first)))
                self._drop(reader)
                return
            item = self._kept[reader.position - first]
            reader.credit -= 1
            reader.position += 1
            if not reader.source.answer(
                Chunk(reader.number, item.offset, 1, item.codec), item.frames
            ):
                self._drop(reader)
                return
        if self._last is not None and reader.position >= self._next:
            message, frames = self._last
            reader.source.answer(message.renumbered(reader.number), frames)
            self._drop(reader)

    def _drop(self, reader: _Reader) -> None:
        self._readers.pop((reader.source.who, reader.number), None)
        self._quiet_since = time.monotonic()

    # -- reading -----------------------------------------------------------------------------------
    def _read(self, source: Source, number: int, offset: int, credit: int) -> None:
        with self._change:
            reader = _Reader(source, number, offset, credit)
            self._readers[source.who, number] = reader
            self._advance(reader)
            self._change.notify_all()

    def attach(self, source: Source, message: Attach) -> None:
        """Read from an offset on."""
        self._read(source, message.id, max(0, message.offset), max(0, message.credit))

    def redirect(self, source: Source, number: int) -> bool:
        """Read it from its beginning over another connection, the first one broke."""
        self._read(source, number, 0, self.call.credit)
        return True

    def grant(self, source: Source, number: int, more: int) -> bool:
        """A reader takes more; False if it is not one of this stream's."""
        with self._change:
            reader = self._readers.get((source.who, number))
            if reader is None:
                return False
            reader.credit += max(0, more)
            self._advance(reader)
            self._change.notify_all()
            return True

    # -- ending ------------------------------------------------------------------------------------
    def give_up(self, error: AgentdError) -> None:
        """As for any call; the generator is closed and runs its ``finally``."""
        with self._change:
            self._stopped = True
            self.hosted.turns.unstall(self)
            self._change.notify_all()
        super().give_up(error)

    def _answer(self, message: Message, frames: list[Any]) -> None:
        with self._lock:
            if self._answered:
                return
            self._answered = True
            if self._timer is not None:
                self._timer.cancel()
            # Before anybody can find the stream forgotten: it is not to be run again.
            self._host.outcomes.remember(self.call.key, Outcome(error_message(0, _gone()), []))
        with self._change:
            self._last = (End(0, self._next) if message.kind == "result" else message, frames)
            for reader in list(self._readers.values()):
                self._advance(reader)
        self._host.call_ended(self)

    @property
    def over(self) -> bool:
        """Whether it has ended and nobody reads it any more."""
        return self._last is not None and not self._readers

    @property
    def quiet_s(self) -> float:
        """For how long nobody has read it."""
        return 0.0 if self._readers else time.monotonic() - self._quiet_since


_DONE: Any = object()


def _expired(first: int) -> ResultExpired:
    return ResultExpired(
        f"the stream is kept from item {first} on: at most {KEEP_ITEMS} items, "
        f"{KEEP_BYTES >> 20} MiB, and {KEEP_S:g} s without a reader",
        first=first,
    )


def _gone() -> ResultExpired:
    return ResultExpired(
        f"the stream is not kept any more: it ended, or nobody read it for {KEEP_S:g} s"
    )


class Streams:
    """The streams of a worker, by key. In the loop's thread."""

    def __init__(self) -> None:
        self._streams: dict[bytes, OpenStream] = {}

    def add(self, stream: OpenStream) -> None:
        """A new one."""
        self._streams[stream.call.key] = stream

    def attach(self, source: Source, message: Attach) -> None:
        """Read one from an offset on; raises ``ResultExpired``."""
        stream = self._streams.get(message.key)
        if stream is None:
            raise _gone()
        stream.attach(source, message)

    def redirect(self, source: Source, call: Call) -> bool:
        """Have one that was called before read over another connection; False: none is here."""
        stream = self._streams.get(call.key)
        return stream is not None and stream.redirect(source, call.id)

    def grant(self, source: Source, number: int, more: int) -> None:
        """A reader takes more of whatever it reads under that number."""
        for stream in self._streams.values():
            if stream.grant(source, number, more):
                return

    def sweep(self) -> None:
        """Forget what ended and was not read for long."""
        for key, stream in list(self._streams.items()):
            if stream.over and stream.quiet_s > KEEP_S:
                del self._streams[key]
