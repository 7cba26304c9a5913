"""What is running right now, as the running code itself may ask.

A hosted method runs in a context of its own (``contextvars``), in which ``current_call`` is set;
calls that it makes inherit deadline, chain and trace from there.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

__all__ = [
    "CurrentCall",
    "current",
    "current_agent",
    "current_call",
    "running",
    "undisturbed",
]


class Guard(Protocol):
    """What may raise an exception in the thread of the running call."""

    def hold_off(self) -> bool:
        """From now on it has to wait, in this thread; False: not of this thread."""

    def let_in(self) -> None:
        """Not any more; raises it if it waited."""


F = TypeVar("F", bound=Callable[..., Any])


def undisturbed(function: F) -> F:
    """Cancelling the running call raises an exception before or after ``function``, never inside.

    For code that other threads rely on: a lock's owner, a message half sent.
    """

    @functools.wraps(function)
    def whole(*args: Any, **kwargs: Any) -> Any:
        call = running.get()
        guard = None if call is None else call.guard
        if guard is None or not guard.hold_off():
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            guard.let_in()

    return cast(F, whole)


class CurrentCall:
    """The call whose code is running. Times are monotonic seconds of this process."""

    __slots__ = (
        "_cancelled",
        "_children",
        "_lock",
        "_me",
        "_on_wait",
        "agent",
        "caller",
        "chain",
        "code",
        "deadline",
        "epoch",
        "gives_way",
        "guard",
        "key",
        "method",
        "trace",
    )

    def __init__(
        self,
        agent: bytes,
        epoch: int,
        key: bytes = b"",
        method: str = "",
        deadline: float | None = None,
        chain: tuple[tuple[bytes, bytes], ...] = (),
        trace: bytes = b"",
        me: Callable[[], Any] = lambda: None,
        on_wait: Callable[[bytes, bool], None] = lambda _key, _begins: None,
        code: bytes = b"",
    ) -> None:
        self.agent = agent
        self.epoch = epoch
        self.key = key
        self.method = method
        self.deadline = deadline
        """When it has to be done, or ``None``."""
        self.chain = chain
        """``(agent, key)`` of the calls that wait for this one, outermost first."""
        self.caller = chain[-1][0] if chain else None
        """The id of the agent that made the call; ``None`` if it was no agent."""
        self.trace = trace
        self.code = code
        """The bundle of modules that came along with the agent."""
        self.guard: Guard | None = None
        """Keeps the cancelling exception out of our own code; see ``undisturbed``."""
        self.gives_way: Callable[[], None] = _nothing
        """To be called before it waits for another call: its thread may be wanted for that one."""
        self._me = me
        self._on_wait = on_wait
        self._lock = threading.Lock()  # protects the two below
        self._cancelled = False
        self._children: dict[bytes, tuple[Callable[[], None], Sequence[Any]]] = {}

    @property
    def id(self) -> str:
        """The key of the call, in hex."""
        return self.key.hex()

    @property
    def trace_id(self) -> str:
        """In hex; the same for all calls that one outermost call led to."""
        return self.trace.hex()

    @property
    def cancelled(self) -> bool:
        """Whether the caller has given up; long-running code may look and stop."""
        return self._cancelled

    def time_left(self) -> float | None:
        """Seconds until the deadline, or ``None``."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    # -- for the worker and the client ------------------------------------------------------------
    @contextmanager
    def waits(self, key: bytes, needs: Sequence[Any]) -> Iterator[None]:
        """While this call waits for the call ``key``, and so for those whose outcomes it needs."""
        self.gives_way()
        keys = self._needed(key, needs)
        for each in keys:
            self._on_wait(each, True)  # noqa: FBT003 - it begins
        try:
            yield
        finally:
            for each in keys:
                self._on_wait(each, False)  # noqa: FBT003 - it ends

    def lives_at(self, endpoint: str) -> bool:
        """Whether its agent is hosted by that daemon."""
        from agentd.client.proxy import target

        return target(self._me()).endpoint == endpoint

    def _needed(self, key: bytes, needs: Sequence[Any]) -> list[bytes]:
        """The keys of a call, of those that it needs, of those that these need, and so on."""
        keys = [key]
        left = [needs]
        with self._lock:
            while left:
                for wire in left.pop():
                    needed = bytes(wire[1])
                    if needed not in keys:
                        keys.append(needed)
                        left.append(self._children.get(needed, (None, ()))[1])
        return keys

    def adopt(self, key: bytes, cancel: Callable[[], None], needs: Sequence[Any] = ()) -> None:
        """A call that needs those outcomes was made on behalf of this one; it ends with it."""
        with self._lock:
            if not self._cancelled:
                self._children[key] = cancel, needs
                return
        cancel()

    def disown(self, key: bytes) -> None:
        """That call is over."""
        with self._lock:
            self._children.pop(key, None)

    def cancel(self) -> None:
        """The caller gave up: so do the calls made on its behalf."""
        with self._lock:
            self._cancelled = True
            children, self._children = self._children, {}
        for cancel, _needs in children.values():
            cancel()


def _nothing() -> None:
    """Nobody wants the thread."""


running: ContextVar[CurrentCall | None] = ContextVar("agentd_running", default=None)


def current() -> CurrentCall | None:
    """The call whose code runs in this context, if any."""
    return running.get()


def current_call() -> CurrentCall | None:
    """The call whose code is running: id, caller, deadline, cancelled, trace_id.

    ``None`` outside of a hosted agent's code.
    """
    return running.get()


def current_agent() -> Any:
    """A reference to the agent whose code is running; ``None`` outside of one."""
    call = running.get()
    return None if call is None else call._me()
