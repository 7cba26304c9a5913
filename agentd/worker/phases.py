"""The life of a call and of a stream in a worker, as tables (after h11's ``_state.py``).

``OpenCall`` and ``OpenStream`` move by nothing else. What leads back to the same state is ignored
there, or changes only who reads. An event that is not in the table for a state is an
``IllegalTransition`` and changes nothing.

A stream is a call, too: the events of its call that move it are events of the stream, as
``OF_CALL`` tells.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = [
    "ANSWERED",
    "CALLS",
    "OF_CALL",
    "STILL",
    "STREAMS",
    "CallEvent",
    "CallState",
    "IllegalTransition",
    "StreamEvent",
    "StreamState",
    "call_after",
    "stream_after",
]


class IllegalTransition(Exception):
    """The event cannot happen in that state: a defect of the worker, not of a peer."""


# -- calls -----------------------------------------------------------------------------------------
class _ById(Enum):
    """Its members are what they are by identity: looked up often, they need no hash of a name."""

    __hash__ = object.__hash__


class CallState(_ById):
    """Where a call is in its life."""

    WAITING = "waiting for results it needs"
    QUEUED = "waiting for its turn"
    RUNNING = "running"
    WATCHING = "watching"
    """Its turn is over; what it began goes on (``op="watch"``)."""
    LEAVING = "answered, still running"
    DONE = "done"


class CallEvent(_ById):
    """What can happen to it."""

    NEEDS_THERE = "the results it needs are there"
    NEEDS_FAILED = "a result it needs failed"
    TURN = "its turn came"
    REFUSED = "refused"
    FINISHED = "its code has ended"
    STAYS = "its code has ended, what it began goes on"
    CANCELLED = "cancelled"
    EXPIRED = "its deadline is over"
    INTERRUPTED = "a newer call takes its place"
    KILLED = "its agent was killed"
    REDIRECTED = "asked for over another connection"


ANSWERED: Final = frozenset({CallState.LEAVING, CallState.DONE})
"""Entering one of these from outside of them is the one moment when a call is answered."""

_C, _E = CallState, CallEvent

CALLS: Final[dict[tuple[CallState, CallEvent], CallState]] = {
    (_C.WAITING, _E.NEEDS_THERE): _C.QUEUED,
    (_C.WAITING, _E.NEEDS_FAILED): _C.DONE,
    (_C.WAITING, _E.CANCELLED): _C.DONE,
    (_C.WAITING, _E.EXPIRED): _C.DONE,
    (_C.WAITING, _E.REDIRECTED): _C.WAITING,
    (_C.QUEUED, _E.TURN): _C.RUNNING,
    (_C.QUEUED, _E.REFUSED): _C.DONE,
    (_C.QUEUED, _E.CANCELLED): _C.DONE,
    (_C.QUEUED, _E.EXPIRED): _C.DONE,
    # It has been given its turn, but its thread has not begun.
    (_C.QUEUED, _E.INTERRUPTED): _C.DONE,
    (_C.QUEUED, _E.KILLED): _C.DONE,
    (_C.QUEUED, _E.REDIRECTED): _C.QUEUED,
    (_C.RUNNING, _E.FINISHED): _C.DONE,
    (_C.RUNNING, _E.STAYS): _C.WATCHING,
    (_C.RUNNING, _E.CANCELLED): _C.LEAVING,
    (_C.RUNNING, _E.EXPIRED): _C.LEAVING,
    (_C.RUNNING, _E.INTERRUPTED): _C.LEAVING,
    (_C.RUNNING, _E.KILLED): _C.LEAVING,
    (_C.RUNNING, _E.REDIRECTED): _C.RUNNING,
    (_C.WATCHING, _E.FINISHED): _C.DONE,
    (_C.WATCHING, _E.CANCELLED): _C.DONE,
    (_C.WATCHING, _E.EXPIRED): _C.DONE,
    (_C.WATCHING, _E.INTERRUPTED): _C.WATCHING,
    (_C.WATCHING, _E.KILLED): _C.DONE,
    (_C.LEAVING, _E.FINISHED): _C.DONE,
    (_C.LEAVING, _E.STAYS): _C.DONE,
    (_C.LEAVING, _E.CANCELLED): _C.LEAVING,
    (_C.LEAVING, _E.EXPIRED): _C.LEAVING,
    (_C.LEAVING, _E.INTERRUPTED): _C.LEAVING,
    (_C.LEAVING, _E.KILLED): _C.LEAVING,
    (_C.LEAVING, _E.REDIRECTED): _C.LEAVING,
    # What was on its way when the call was answered comes all the same.
    (_C.DONE, _E.NEEDS_THERE): _C.DONE,
    (_C.DONE, _E.NEEDS_FAILED): _C.DONE,
    (_C.DONE, _E.TURN): _C.DONE,
    (_C.DONE, _E.REFUSED): _C.DONE,
    (_C.DONE, _E.FINISHED): _C.DONE,
    (_C.DONE, _E.STAYS): _C.DONE,
    (_C.DONE, _E.CANCELLED): _C.DONE,
    (_C.DONE, _E.EXPIRED): _C.DONE,
    (_C.DONE, _E.INTERRUPTED): _C.DONE,
    (_C.DONE, _E.KILLED): _C.DONE,
    (_C.DONE, _E.REDIRECTED): _C.DONE,
}


def call_after(state: CallState, event: CallEvent) -> CallState:
    """The state of a call that follows; raises ``IllegalTransition``."""
    try:
        return CALLS[state, event]
    except KeyError:
        raise _illegal("call", state, event) from None


# -- streams ---------------------------------------------------------------------------------------
class StreamState(_ById):
    """Where a stream is in its life."""

    NEW = "not begun"
    PRODUCING = "producing"
    STALLED = "standing still in its turn"
    """No reader takes more."""
    YIELDED = "standing still, its turn given back"
    """Nobody read it for the grace period; others have their turns meanwhile."""
    CLOSING = "being closed"
    ENDED = "ended, kept for readers"
    FORGOTTEN = "forgotten"


class StreamEvent(_ById):
    """What can happen to it."""

    TURN = "its turn came"
    ITEM = "an item was made"
    OUT_OF_CREDIT = "no reader takes more"
    CREDIT = "a reader takes more"
    ATTACHED = "a reader came"
    READER_LOST = "a reader is gone"
    UNREAD = "nobody read it for the grace period"
    GIVEN_UP = "its call was given up"
    FINISHED = "its code has ended"
    KEPT = "kept long enough"
    NO_ROOM = "newer ones need the room"


STILL: Final = frozenset({StreamState.STALLED, StreamState.YIELDED})
"""The producer waits."""

OF_CALL: Final[dict[CallEvent, StreamEvent]] = {
    CallEvent.NEEDS_FAILED: StreamEvent.GIVEN_UP,
    CallEvent.TURN: StreamEvent.TURN,
    CallEvent.REFUSED: StreamEvent.GIVEN_UP,
    CallEvent.FINISHED: StreamEvent.FINISHED,
    CallEvent.CANCELLED: StreamEvent.GIVEN_UP,
    CallEvent.EXPIRED: StreamEvent.GIVEN_UP,
    CallEvent.INTERRUPTED: StreamEvent.GIVEN_UP,
    CallEvent.KILLED: StreamEvent.GIVEN_UP,
}
"""What an event that moves a stream's call is for the stream."""

_S, _V = StreamState, StreamEvent

STREAMS: Final[dict[tuple[StreamState, StreamEvent], StreamState]] = {
    (_S.NEW, _V.TURN): _S.PRODUCING,
    (_S.NEW, _V.CREDIT): _S.NEW,
    (_S.NEW, _V.ATTACHED): _S.NEW,
    (_S.NEW, _V.READER_LOST): _S.NEW,
    (_S.NEW, _V.GIVEN_UP): _S.ENDED,
    (_S.PRODUCING, _V.ITEM): _S.PRODUCING,
    (_S.PRODUCING, _V.OUT_OF_CREDIT): _S.STALLED,
    (_S.PRODUCING, _V.CREDIT): _S.PRODUCING,
    (_S.PRODUCING, _V.ATTACHED): _S.PRODUCING,
    (_S.PRODUCING, _V.READER_LOST): _S.PRODUCING,
    (_S.PRODUCING, _V.GIVEN_UP): _S.CLOSING,
    (_S.PRODUCING, _V.FINISHED): _S.ENDED,
    (_S.STALLED, _V.CREDIT): _S.PRODUCING,
    (_S.STALLED, _V.ATTACHED): _S.STALLED,
    (_S.STALLED, _V.READER_LOST): _S.STALLED,
    (_S.STALLED, _V.UNREAD): _S.YIELDED,
    (_S.STALLED, _V.GIVEN_UP): _S.CLOSING,
    (_S.YIELDED, _V.CREDIT): _S.PRODUCING,
    (_S.YIELDED, _V.ATTACHED): _S.YIELDED,
    (_S.YIELDED, _V.READER_LOST): _S.YIELDED,
    (_S.YIELDED, _V.GIVEN_UP): _S.CLOSING,
    (_S.CLOSING, _V.ITEM): _S.CLOSING,  # made while it was told to stop: nobody gets it
    (_S.CLOSING, _V.ATTACHED): _S.CLOSING,
    (_S.CLOSING, _V.READER_LOST): _S.CLOSING,
    (_S.CLOSING, _V.FINISHED): _S.ENDED,
    (_S.ENDED, _V.ATTACHED): _S.ENDED,
    (_S.ENDED, _V.READER_LOST): _S.ENDED,
    (_S.ENDED, _V.KEPT): _S.FORGOTTEN,
    (_S.ENDED, _V.NO_ROOM): _S.FORGOTTEN,
    # The loop and a stream that ends may come to it at once.
    (_S.FORGOTTEN, _V.ATTACHED): _S.FORGOTTEN,
    (_S.FORGOTTEN, _V.KEPT): _S.FORGOTTEN,
    (_S.FORGOTTEN, _V.NO_ROOM): _S.FORGOTTEN,
}


def stream_after(state: StreamState, event: StreamEvent) -> StreamState:
    """The state of a stream that follows; raises ``IllegalTransition``."""
    try:
        return STREAMS[state, event]
    except KeyError:
        raise _illegal("stream", state, event) from None


def _illegal(what: str, state: Enum, event: Enum) -> IllegalTransition:
    return IllegalTransition(f"{event.value!r} for a {what} that is {state.value!r}")
