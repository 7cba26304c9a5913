"""Streams: generator methods whose items go to readers as they come.

The producer may be as far ahead as its fastest reader has granted credit; without credit, or
without a reader, it stands still. Sent items are kept for a while, so that a reader who lost its
connection, or another one, can attach at an earlier offset. A stream holds its agent's turn until
it ends, as any call does; one that nobody reads gives it back and takes it again when somebody
does. Its life is the second table of ``agentd.worker.phases``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentd.client.fetching import Outcome
from agentd.errors import ResultExpired
from agentd.protocol import error_message
from agentd.protocol.messages import Attach, Call, Chunk, Detach, End, Message
from agentd.worker import coroutines
from agentd.worker.calls import OpenCall
from agentd.worker.interrupt import Interruptible
from agentd.worker.operations import agent_code, arguments, encode_value
from agentd.worker.phases import (
    OF_CALL,
    STILL,
    CallEvent,
    StreamEvent,
    StreamState,
    stream_after,
)
from agentd.worker.source import Source

if TYPE_CHECKING:
    from agentd.worker.desk import Desk
    from agentd.worker.hosted import Hosted

__all__ = ["OpenStream", "Streams"]

KEEP_ITEMS: Final = 1024
KEEP_BYTES: Final = 16 * 1024 * 1024
KEEP_S: Final = 60.0
"""How far back a stream can be read, and how long it waits for a reader: after its end too."""
ENDED_COUNT: Final = 10_000
ENDED_BYTES: Final = 64 * 1024 * 1024
"""What a worker keeps at most of streams that ended; the oldest go first."""
PROBE_S: Final = 1.0
"""How often streams are looked after: readers without credit, and what nobody reads."""


class _Kept(NamedTuple):
    offset: int
    codec: str
    frames: list[Any]
    size: int


class _Reader:
    """One who reads: where, how far, and how much more it takes."""

    __slots__ = ("credit", "number", "position", "source", "who")

    def __init__(self, source: Source, number: int, position: int, credit: int) -> None:
        self.source = source
        self.who = source.who
        self.number = number
        self.position = position
        self.credit = credit


class OpenStream(OpenCall):
    """A call whose value is a stream."""

    def __init__(
        self, desk: Desk, hosted: Hosted, source: Source, call: Call, payload: list[Any]
    ) -> None:
        super().__init__(desk, hosted, source, call, payload)
        self.on_loop = False
        self._change = threading.Condition(self._lock)  # its lock protects all below, too
        self._stage = StreamState.NEW
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._next = 0
        self._last: tuple[Message, list[Any]] | None = None
        self._readers: dict[tuple[Any, int], _Reader] = {}
        self._guests: dict[Any, int] = {}  # who reads, and how many times
        self.guests = self._guests
        self._quiet_since = desk.loop.clock()
        self._read(self._source, self.call.id, 0, self.call.credit)

    def _goes(self, event: StreamEvent) -> None:
        """A step of its life. Under the lock."""
        self._stage = stream_after(self._stage, event)

    def _moves(self, event: CallEvent) -> bool:
        before = self._state
        answered = super()._moves(event)
        if self._state is not before and event in OF_CALL:
            self._goes(OF_CALL[event])
        return answered

    # -- producing ---------------------------------------------------------------------------------
    def _step(self, function: Callable[..., Any], *args: Any) -> Any:
        """One step of the agent's code: it can be interrupted, what follows it cannot.

        So a generator that is closed runs its ``finally`` undisturbed.
        """
        step = self._work = self.current.guard = Interruptible()
        if self._stage is StreamState.CLOSING:
            step.stop()
        return step.run(agent_code, function, *args)

    def _run_code(self) -> tuple[str, list[Any]]:
        args, kwargs = arguments(self.call, self._payload, self._refs, self.terms)
        value = self._step(self.hosted.method_for(self.terms), self.call.name, args, kwargs)
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
                codec, frames = encode_value(self.hosted, item, what, self._refs, self.terms)
                self._keep(codec, frames)
        finally:
            close: Callable[[], None] | None = getattr(items, "close", None)
            if close is not None:
                agent_code(close)
        return "", []

    def _wait_for_credit(self) -> bool:
        """Stand still while no reader takes more; False if it is to be closed."""
        turns = self.hosted.turns
        while True:
            with self._change:
                if self._stage is StreamState.PRODUCING and not self._has_credit():
                    self._goes(StreamEvent.OUT_OF_CREDIT)
                    turns.stall(self)
                    self._desk.streams.look_after(self)
                if self._stage not in STILL:
                    return self._stage is StreamState.PRODUCING
                while self._stage in STILL:
                    self._change.wait()
            turns.resume(self)

    def _has_credit(self) -> bool:
        return any(reader.credit > 0 for reader in self._readers.values())

    def _keep(self, codec: str, frames: list[Any]) -> None:
        size = sum(memoryview(part).nbytes for part in frames)
        with self._change:
            self._goes(StreamEvent.ITEM)
            if self._stage is not StreamState.PRODUCING:
                return
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
                self._lose(reader)
                return
        if self._last is not None and reader.position >= self._next:
            message, frames = self._last
            reader.source.answer(message.renumbered(reader.number), frames)
            self._drop(reader)

    # -- reading -----------------------------------------------------------------------------------
    def _read(self, source: Source, number: int, offset: int, credit: int) -> None:
        with self._change:
            self._goes(StreamEvent.ATTACHED)
            if self._stage is StreamState.FORGOTTEN:
                raise _not_kept()
            reader = _Reader(source, number, offset, credit)
            self._readers[reader.who, number] = reader
            self._guests[reader.who] = self._guests.get(reader.who, 0) + 1
            self._desk.streams.reads(reader.who, number, self)
            self._take_credit(reader)

    def _take_credit(self, reader: _Reader) -> None:
        """A reader takes more: first of what is there, then of what is to be made."""
        self._advance(reader)
        if (reader.who, reader.number) not in self._readers:
            return
        if reader.credit > 0:
            still = self._stage in STILL
            self._goes(StreamEvent.CREDIT)
            if still:
                self.hosted.turns.unstall(self)
                self._change.notify_all()
        elif self._stage is StreamState.ENDED:
            self._desk.streams.look_after(self)

    def attach(self, source: Source, number: int, offset: int, credit: int) -> None:
        """Read from an offset on; raises ``ResultExpired``."""
        self._read(source, number, max(0, offset), max(0, credit))

    def grant(self, who: Any, number: int, more: int) -> None:
        """A reader takes more."""
        with self._change:
            reader = self._readers.get((who, number))
            if reader is not None:
                reader.credit += max(0, more)
                self._take_credit(reader)

    def detach(self, who: Any, number: int) -> None:
        """A reader is gone."""
        with self._change:
            reader = self._readers.get((who, number))
            if reader is not None:
                self._lose(reader)

    def _lose(self, reader: _Reader) -> None:
        self._goes(StreamEvent.READER_LOST)
        self._drop(reader)

    def _drop(self, reader: _Reader) -> None:
        del self._readers[reader.who, reader.number]
        self._guests[reader.who] -= 1
        if not self._guests[reader.who]:
            del self._guests[reader.who]
        self._quiet_since = self._desk.loop.clock()
        self._desk.streams.reads_no_more(reader.who, reader.number, self)

    # -- ending ------------------------------------------------------------------------------------
    def _answer(self, event: CallEvent, message: Message, frames: list[Any]) -> bool:
        with self._change:
            before = self._stage
            answered = self._moves(event)
            if answered:
                if self._timer is not None:
                    self._timer.cancel()
                # Before anybody can find the stream forgotten: it is not to be run again.
                gone = Outcome(error_message(0, _not_kept()), [])
                self._desk.outcomes.remember(self.call.key, gone)
                self._last = (End(0, self._next) if message.kind == "result" else message, frames)
                for reader in list(self._readers.values()):
                    self._advance(reader)
            if before in STILL and self._stage is StreamState.CLOSING:
                self.hosted.turns.unstall(self)
                self._change.notify_all()
            ended = self._stage is StreamState.ENDED and before is not StreamState.ENDED
            if ended:
                self._payload = []
        if answered:
            self._desk.call_ended(self)
        if ended:
            self._desk.streams.ended(self, self._kept_bytes)
        return answered

    def look(self) -> bool:
        """Find readers that are gone; see whether anybody reads. Whether to look again."""
        with self._change:
            for reader in list(self._readers.values()):
                alive = Chunk(reader.number, self._next, 0)
                if reader.credit == 0 and not reader.source.answer(alive):
                    self._lose(reader)
            unread = 0.0 if self._readers else self._desk.loop.clock() - self._quiet_since
            if self._stage is StreamState.STALLED and unread > self._desk.grace_s:
                self._goes(StreamEvent.UNREAD)
                self.hosted.turns.leave(self)
            again = self._stage in STILL or bool(self._readers)
            over = self._stage is StreamState.YIELDED and unread > KEEP_S
        if over:
            why = f"was given up: nobody read it for {KEEP_S:g} s"
            self._give_up(CallEvent.CANCELLED, self._cancelled(why))
        return again

    def forget(self, event: StreamEvent) -> bool:
        """Let go of what is kept; False if it is too early for that."""
        with self._change:
            if event is StreamEvent.KEPT and self._stage is StreamState.ENDED:
                quiet = self._desk.loop.clock() - self._quiet_since
                if self._readers or quiet <= KEEP_S:
                    return False
            self._goes(event)
            for reader in list(self._readers.values()):
                reader.source.answer(error_message(reader.number, _not_kept()))
                self._drop(reader)
            self._kept.clear()
            self._kept_bytes = 0
            self._last = None
            return True

    @property
    def is_read(self) -> bool:
        """Whether anybody reads it."""
        return bool(self._readers)


_DONE: Any = object()


def _expired(first: int) -> ResultExpired:
    return ResultExpired(
        f"the stream is kept from item {first} on: at most {KEEP_ITEMS} items, "
        f"{KEEP_BYTES >> 20} MiB, and {KEEP_S:g} s without a reader",
        first=first,
    )


def _not_kept() -> ResultExpired:
    return ResultExpired(
        f"the stream is not kept any more: it ended and nobody read it for {KEEP_S:g} s, or the "
        f"worker kept more than {ENDED_COUNT} ended ones or {ENDED_BYTES >> 20} MiB of them"
    )


class Streams:
    """The streams of a worker, by key and by reader. From any thread."""

    def __init__(self, later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._later = later
        # Taken by streams that hold their own lock: nothing of theirs is called under this one.
        self._lock = threading.Lock()  # protects all below
        self._streams: dict[bytes, OpenStream] = {}
        self._readers: dict[tuple[Any, int], OpenStream] = {}
        self._ended: OrderedDict[OpenStream, int] = OrderedDict()
        """With the bytes that each keeps, the one longest unread first."""
        self._ended_bytes = 0
        self._looked_after: set[OpenStream] = set()
        self._timer = False

    # -- for those who read ------------------------------------------------------------------------
    def add(self, stream: OpenStream) -> None:
        """A new one. Without a key nobody else can read it: whose it is could not be told."""
        if stream.call.key:
            with self._lock:
                self._streams[stream.call.key] = stream

    def attach(self, source: Source, message: Attach) -> None:
        """Read one from an offset on; raises ``ResultExpired``."""
        stream = self._streams.get(message.key)
        if stream is None:
            raise _not_kept()
        stream.attach(source, message.id, message.offset, message.credit)

    def again(self, source: Source, call: Call) -> bool:
        """The call of a stream that was sent before: read that one; False if it is not known."""
        stream = self._streams.get(call.key)
        if stream is None:
            return False
        stream.attach(source, call.id, 0, call.credit)
        return True

    def grant(self, source: Source, number: int, more: int) -> None:
        """A reader takes more of whatever it reads under that number."""
        stream = self._readers.get((source.who, number))
        if stream is not None:
            stream.grant(source.who, number, more)

    def detach(self, source: Source, message: Detach) -> None:
        """A reader is gone."""
        stream = self._readers.get((source.who, message.id))
        if stream is not None:
            stream.detach(source.who, message.id)

    # -- told by the streams -----------------------------------------------------------------------
    def reads(self, who: Any, number: int, stream: OpenStream) -> None:
        """Somebody reads the stream."""
        with self._lock:
            self._readers[who, number] = stream

    def reads_no_more(self, who: Any, number: int, stream: OpenStream) -> None:
        """He does not any more."""
        with self._lock:
            if self._readers.get((who, number)) is stream:
                del self._readers[who, number]
            if stream in self._ended:
                self._ended.move_to_end(stream)

    def look_after(self, stream: OpenStream) -> None:
        """It stands still, or has ended and a reader lags behind."""
        with self._lock:
            self._looked_after.add(stream)
            self._arm()

    def ended(self, stream: OpenStream, size: int) -> None:
        """It has ended; it is kept for a while."""
        dropped = []
        with self._lock:
            self._ended[stream] = size
            self._ended_bytes += size
            while len(self._ended) > ENDED_COUNT or self._ended_bytes > ENDED_BYTES:
                dropped.append(next(iter(self._ended)))
                self._remove(dropped[-1])
            if stream.is_read:
                self._looked_after.add(stream)
            self._arm()
        for old in dropped:
            old.forget(StreamEvent.NO_ROOM)

    def _remove(self, stream: OpenStream) -> None:
        size = self._ended.pop(stream, None)
        if size is None:
            return
        self._ended_bytes -= size
        if self._streams.get(stream.call.key) is stream:
            del self._streams[stream.call.key]

    # -- time --------------------------------------------------------------------------------------
    def _arm(self) -> None:
        if not self._timer and (self._looked_after or self._ended):
            self._timer = True
            self._later(PROBE_S, self._tick)

    def _tick(self) -> None:
        with self._lock:
            looked_after, self._looked_after = self._looked_after, set()
            ended = list(self._ended)
            self._timer = False
        again = {stream for stream in looked_after if stream.look()}
        gone = []
        for stream in ended:
            if stream.is_read:
                continue
            if not stream.forget(StreamEvent.KEPT):
                break  # the others were read later
            gone.append(stream)
        with self._lock:
            for stream in gone:
                self._remove(stream)
            self._looked_after |= again
            self._arm()
