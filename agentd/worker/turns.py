"""Whose turn it is: which calls of one agent run when.

One at a time in the order they arrived, unless the agent's options say otherwise:
``max_concurrency`` lets more run at once, ``@readonly`` methods run beside all others, ``busy``
says what a call meets that finds no free turn (``queue``, ``reject``, ``interrupt``).

A stream whose reader takes no more stands still in the middle of its turn, like any generator
between two items. Its own reader may call the agent then, as with a local object; nobody else.

A call that comes back to an agent which waits for it would wait for ever. Each call carries the
chain of calls that wait for it, and an agent knows for which calls its running ones wait; where the
two meet, the call runs as part of the present turn (``reentrant``) or fails with ``WouldDeadlock``.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from agentd.errors import AgentdError, Overloaded, WouldDeadlock
from agentd.ids import show
from agentd.worker.executor import Executor

__all__ = ["Item", "TurnOptions", "Turns"]

IN_A_ROW: Final = 64
"""Calls run in a row before the thread is offered to other agents."""


class Item(Protocol):
    """Something to be run in its turn. Nothing here may raise."""

    chain: tuple[tuple[bytes, bytes], ...]
    who: Any
    """Equal for the calls of one client."""
    readonly: bool
    on_loop: bool
    """It runs as a task of the event loop, not on a thread."""

    def run(self) -> None:
        """Do it, on an executor's thread."""

    def begin(self, done: Callable[[], None]) -> None:
        """Start it on the event loop; ``done`` is called at its end."""

    def refuse(self, error: AgentdError) -> None:
        """It will not be run."""

    def interrupt(self) -> None:
        """Another call takes its place: end as soon as possible."""

    def give_up(self, error: AgentdError) -> None:
        """Answer with the error and end as soon as possible."""


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How an agent's calls take turns."""

    max_concurrency: int = 1
    reentrant: bool = False
    busy: str = "queue"
    mailbox: int = 16_384
    """Calls that may wait: room for one event loop with 10,000 in flight."""


class Turns:
    """The mailbox of one agent. From any thread."""

    def __init__(self, agent: bytes, executor: Executor, options: TurnOptions) -> None:
        self._agent = agent
        self._executor = executor
        self._options = options
        self._lock = threading.Lock()  # protects all below
        self._shift = threading.Condition(self._lock)  # the three below changed
        self._stalled: list[Item] = []
        self._resuming: list[Item] = []  # of the stalled ones: they wait to go on
        self._sharing: list[Item] = []  # one turn: streams that stood still, calls let in meanwhile
        self._waiting: deque[Item] = deque()
        self._running: list[Item] = []
        self._awaited: set[bytes] = set()
        self._closed: AgentdError | None = None

    def post(self, item: Item) -> bool:
        """Run it in its turn, or refuse it: then False."""
        with self._lock:
            error = self._closed
            interrupted: list[Item] = []
            start = False
            if error is None:
                if len(self._running) < self._options.max_concurrency and not self._waiting:
                    start = True
                elif item.readonly and self._running:
                    start = True
                elif self._is_guest(item):
                    self._sharing.append(item)
                    start = True
                elif self._comes_back(item, self._awaited):
                    if self._options.reentrant:
                        start = True
                    else:
                        error = _deadlock(self._agent, item)
                else:
                    error, interrupted = self._meet_busy(item)
            if start:
                self._running.append(item)
        for other in interrupted:
            other.interrupt()
        if start:
            self._start(item)
        elif error is not None:
            item.refuse(error)
        return error is None

    def post_always(self, item: Item) -> None:
        """Run it after all that waits, whatever the limits and though the agent ends."""
        with self._lock:
            start = len(self._running) < self._options.max_concurrency and not self._waiting
            if start:
                self._running.append(item)
            else:
                self._waiting.append(item)
        if start:
            self._start(item)

    def _meet_busy(self, item: Item) -> tuple[AgentdError | None, list[Item]]:
        limit = self._options.mailbox
        if self._options.busy == "reject" or len(self._waiting) >= limit:
            held = 0 if self._options.busy == "reject" else limit
            return (
                Overloaded(
                    f"agent {show(self._agent)[:8]} is busy and lets {held} calls wait",
                    agent=show(self._agent),
                    limit=held,
                    retry_after=0.1,
                ),
                [],
            )
        self._waiting.append(item)
        return None, list(self._running) if self._options.busy == "interrupt" else []

    # -- running -----------------------------------------------------------------------------------
    def _start(self, item: Item) -> None:
        if item.on_loop:
            item.begin(lambda: self._ended(item))
        else:
            self._executor.submit(lambda: self._run(item))

    def _run(self, item: Item) -> None:
        for _ in range(IN_A_ROW):
            try:
                item.run()
            except BaseException:  # noqa: BLE001 - a defect of ours; other callers still wait
                traceback.print_exc()
            following = self._next(item)
            if following is None:
                return
            if following.on_loop:
                self._start(following)
                return
            item = following
        self._executor.submit(lambda: self._run(item))

    def _ended(self, item: Item) -> None:
        following = self._next(item)
        if following is not None:
            self._start(following)

    def _next(self, item: Item) -> Item | None:
        with self._lock:
            self._running.remove(item)
            if item in self._sharing:
                self._sharing.remove(item)
                self._shift.notify_all()
            following = self._let_in()
            if following is not None:
                return following
            if self._waiting and len(self._running) < self._options.max_concurrency:
                following = self._waiting.popleft()
                self._running.append(following)
                return following
            return None

    def withdraw(self, item: Item) -> bool:
        """Take it out of the queue; False if it is not waiting there (any more)."""
        with self._lock:
            try:
                self._waiting.remove(item)
            except ValueError:
                return False
            return True

    # -- streams that stand still ------------------------------------------------------------------
    def stall(self, item: Item) -> None:
        """The running stream ``item`` waits for its reader, who may call the agent meanwhile."""
        with self._lock:
            self._stalled.append(item)
            if not item.readonly and item not in self._sharing:
                self._sharing.append(item)
            self._shift.notify_all()
            guest = self._let_in()
        if guest is not None:
            self._start(guest)

    def unstall(self, item: Item) -> None:
        """No further call is let in for its sake."""
        with self._lock:
            if item in self._stalled and item not in self._resuming:
                self._resuming.append(item)

    def resume(self, item: Item) -> None:
        """It goes on, as soon as nothing else runs in the turn that it shares."""
        self.unstall(item)
        with self._lock:
            while not item.readonly and self._busy_beside(item) >= self._options.max_concurrency:
                self._shift.wait()
            self._stalled.remove(item)
            self._resuming.remove(item)

    def _busy_beside(self, item: Item) -> int:
        return sum(i is not item and i not in self._stalled for i in self._sharing)

    def _let_in(self) -> Item | None:
        if not self._stalled:
            return None
        guest = next((i for i in self._waiting if self._is_guest(i)), None)
        if guest is not None:
            self._waiting.remove(guest)
            self._sharing.append(guest)
            self._running.append(guest)
        return guest

    def _is_guest(self, item: Item) -> bool:
        """One of the reader of a stream that stands still; one at a time."""
        return any(
            stream.who == item.who and stream not in self._resuming for stream in self._stalled
        ) and all(i in self._stalled or i.readonly for i in self._running)

    # -- chains ------------------------------------------------------------------------------------
    def waits(self, key: bytes, *, begins: bool) -> None:
        """A running call begins (ends) to wait for the call ``key`` that it made."""
        with self._lock:
            if not begins:
                self._awaited.discard(key)
                return
            self._awaited.add(key)
            back = [item for item in self._waiting if self._comes_back(item, {key})]
            for item in back:
                self._waiting.remove(item)
            if self._options.reentrant:
                self._running.extend(back)
        for item in back:
            if self._options.reentrant:
                self._start(item)
            else:
                item.refuse(_deadlock(self._agent, item))

    def _comes_back(self, item: Item, awaited: set[bytes]) -> bool:
        return any(agent == self._agent and key in awaited for agent, key in item.chain)

    # -- ending ------------------------------------------------------------------------------------
    def close(self, error: AgentdError) -> list[Item]:
        """Refuse all that waits and all that comes; the items that still run."""
        with self._lock:
            self._closed = error
            waiting, self._waiting = self._waiting, deque()
            running = list(self._running)
        for item in waiting:
            item.refuse(error)
        return running

    @property
    def depth(self) -> int:
        """How many calls wait."""
        return len(self._waiting)


def _deadlock(agent: bytes, item: Any) -> WouldDeadlock:
    names = [show(a)[:8] for a, _key in item.chain] + [show(agent)[:8]]
    return WouldDeadlock(
        f"the call would wait for itself: {' -> '.join(names)}; create agent {names[-1]} with "
        "reentrant=True to let such calls run as part of its turn",
        agent=show(agent),
        chain=names,
    )
