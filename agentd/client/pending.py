"""A request on its way, and what may become of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agentd.errors import AgentdError, ConnectionLost, DaemonNotFound
from agentd.protocol.messages import Accepted, Chunk, Message

if TYPE_CHECKING:
    from agentd.client.readers import Waiter

__all__ = ["Calls", "LinkDown", "Pending", "call_back", "no_answer"]

Calls = list[Callable[[], None]]
"""What is to be called once the connection's lock is free."""


class LinkDown(ConnectionLost):
    """The connection broke under an open request. Internal: callers find out what it means."""


class Pending:
    """Settled once: with a message and its payload, or with a failure.

    Whatever changes it holds the connection's lock.
    """

    __slots__ = (
        "accepted",
        "callback",
        "chunks",
        "done",
        "failure",
        "id",
        "lazy",
        "message",
        "on_change",
        "oneway",
        "payload",
        "waiter",
    )

    def __init__(self, number: int, callback: Callable[[Pending], None] | None) -> None:
        self.id = number
        self.callback = callback
        """Called once settled, in the thread that reads; for requests nobody waits for."""
        self.message: Message | None = None
        self.payload: Sequence[Any] = ()
        self.failure: AgentdError | None = None
        self.accepted: Accepted | None = None
        self.oneway = False
        """``Accepted`` is all the answer there will be."""
        self.chunks: deque[tuple[Chunk, Sequence[Any]]] | None = None
        """Items of a stream that came and were not taken yet, if any ever came."""
        self.on_change: Callable[[], None] | None = None
        """Called once, at the next item or the end."""
        self.done = False
        self.lazy = False
        """Nobody is to be told at once: whoever wants to know comes and looks."""
        self.waiter: Waiter | None = None

    @classmethod
    def failed(cls, error: AgentdError) -> Pending:
        """One that could not be sent."""
        pending = cls(0, None)
        pending.failure = error
        pending.done = True
        return pending

    def outcome(self) -> tuple[Message, Sequence[Any]]:
        """The answer; raises the error that the peer reported. Only once settled."""
        if self.failure is not None:
            raise self.failure
        assert self.message is not None
        return self.message, self.payload

    def settle(self, settled: Calls) -> None:
        """It has its outcome; who is to be told of it is added to ``settled``."""
        self.done = True
        self.changed(settled)
        if self.callback is not None:
            settled.append(partial(self.callback, self))
            self.callback = None

    def changed(self, settled: Calls) -> None:
        """There is something to see for who waits for it."""
        if self.waiter is not None:
            self.waiter.wake()
        if self.on_change is not None:
            settled.append(self.on_change)
            self.on_change = None


def call_back(settled: Calls) -> None:
    """Tell who is to be told; without any lock."""
    while settled:
        settled.pop(0)()


def no_answer(endpoint: str) -> DaemonNotFound:
    """Somebody listens there, but says nothing."""
    return DaemonNotFound(
        f"{endpoint} accepts connections but does not answer", endpoint=endpoint, silent=True
    )
