"""Whose turn it is: which calls of one agent run when.

One at a time in the order they arrived, unless the agent's options say otherwise:
``max_concurrency`` lets more run at once, ``busy`` says what a call meets that finds no free turn
(``queue``, ``reject``, ``interrupt``). ``@readonly`` methods need no turn: they run beside all
others, many at once.

A stream whose readers take no more stands still in the middle of its turn, like any generator
between two items. Its own readers may call the agent then, as with a local object; nobody else. One
that nobody reads gives its turn back, and waits for another one when somebody does.

A call that comes back to an agent which waits for it would wait for ever. Each call carries the
chain of calls that wait for it, and an agent knows for which calls its running ones wait; where the
two meet, the call runs as part of the present turn (``reentrant``) or fails with ``WouldDeadlock``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from agentd.errors import AgentdError, Overloaded, WouldDeadlock
from agentd.ids import show
from agentd.worker.executor import Executor

__all__ = ["Item", "TurnOptions", "Turns"]

IN_A_ROW: Final = 64
"""Calls run in a row before the thread is offered to other agents."""
READS: Final = 32
"""Readonly calls of one agent that run at once; further ones wait, in order of arrival."""
_NONE: Final[dict[bytes, int]] = {}


class Item(Protocol):
    """Something to be run in its turn. Nothing here may raise."""

    chain: tuple[tuple[bytes, bytes], ...]
    who: Any
    """Equal for the calls of one client."""
    guests: Collection[Any]
    """Whose calls are let in while it stands still."""
    readonly: bool
    on_loop: bool
    """It runs as a task of the event loop, not on a thread."""
    ended: bool
    """It is about to leave its turn: whoever has its answer and calls again finds no busy agent."""

    @property
    def quick(self) -> bool:
        """It takes less time, as far as can be known by now, than handing it to another thread."""

    def accepted(self) -> None:
        """It will have its turn, if nobody gives it up; told before it can begin."""

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
    """The mailbox of one agent. From any thread.

    There may be a hundred thousand of them: so lists, not deques, and for what few agents need
    tuples, of which an empty one takes no memory.
    """

    __slots__ = (
        "_agent",
        "_awaited",
        "_changed",
        "_closed",
        "_executor",
        "_left",
        "_lock",
        "_options",
        "_reading",
        "_reads",
        "_resuming",
        "_returning",
        "_running",
        "_sharing",
        "_stalled",
        "_still_reading",
        "_waiting",
    )

    def __init__(self, agent: bytes, executor: Executor, options: TurnOptions) -> None:
        self._agent = agent
        self._executor = executor
        self._options = options
        self._lock = threading.Lock()  # protects all below
        self._waiting: list[Item] = []
        self._running: list[Item] = []  # those that have a turn, or a part of one
        self._reads: list[Item] | None = None  # readonly ones that wait
        self._reading: tuple[Item, ...] = ()  # and that run
        self._still_reading: tuple[Item, ...] = ()  # of those: streams that stand still
        self._changed: threading.Condition | None = None  # see ``_shift``
        self._stalled: tuple[Item, ...] = ()
        self._resuming: tuple[Item, ...] = ()  # of the stalled ones: they wait to go on
        # One turn: streams that stood still, calls let in meanwhile.
        self._sharing: tuple[Item, ...] = ()
        self._returning: tuple[Item, ...] = ()  # of the waiting ones: they left their turn, go on
        self._left: tuple[Item, ...] = ()  # streams that have no turn any more
        self._awaited = _NONE
        self._closed: AgentdError | None = None

    @property
    def _shift(self) -> threading.Condition:
        """Told when what stalls, goes on or shares a turn has changed. Under the lock."""
        if self._changed is None:
            self._changed = threading.Condition(self._lock)
        return self._changed

    def post(self, item: Item) -> bool:
        """Run it in its turn, or refuse it: then False."""
        interrupted: list[Item] = []
        with self._lock:
            start, error = self._place(item)
            if start:
                if item.readonly:
                    self._reading += (item,)
                else:
                    self._running.append(item)
            elif error is None and not item.readonly and self._options.busy == "interrupt":
                interrupted = list(self._running)
            if error is None:
                # Before anybody can begin it, who is done with the one before it, say.
                item.accepted()
        for other in interrupted:
            other.interrupt()
        if error is not None:
            item.refuse(error)
        if start:
            self._start(item)
        return error is None

    def _place(self, item: Item) -> tuple[bool, AgentdError | None]:
        """Whether it starts now, or why it is refused; else it waits. Under the lock."""
        if self._closed is not None:
            return False, self._closed
        if item.readonly:
            return self._may_read(item)
        if not self._waiting and len(self._running) < self._options.max_concurrency:
            return True, None
        if self._is_guest(item):
            self._sharing += (item,)
            return True, None
        if self._comes_back(item, self._awaited):
            if self._options.reentrant:
                return True, None
            return False, _deadlock(self._agent, item)
        return False, self._wait_in(self._waiting, item)

    def post_always(self, item: Item) -> None:
        """Run it after all that waits, whatever the limits and though the agent ends."""
        with self._lock:
            start = self._has_room() and not self._waiting
            if start:
                self._running.append(item)
            else:
                self._waiting.append(item)
        if start:
            self._start(item)

    def _has_room(self) -> bool:
        """Whether one more may have a turn."""
        if self._closed is not None:  # what is left runs alone: at last the object goes
            return not self._running and not self._reading
        return len(self._running) < self._options.max_concurrency

    def _wait_in(self, queue: list[Item], item: Item) -> AgentdError | None:
        limit = self._options.mailbox
        room = limit
        if self._options.busy == "reject":
            limit = 0
            running = self._reading if queue is self._reads else self._running
            room = sum(each.ended for each in (*running, *queue))
        if len(queue) < room:
            queue.append(item)
            return None
        return Overloaded(
            f"agent {show(self._agent)[:8]} is busy and lets {limit} calls wait",
            agent=show(self._agent),
            limit=limit,
            retry_after=0.1,
        )

    # -- readonly ----------------------------------------------------------------------------------
    def _may_read(self, item: Item) -> tuple[bool, AgentdError | None]:
        # One on behalf of another call here must not wait: that one might wait for it.
        nested = any(agent == self._agent for agent, _key in item.chain)
        if nested or self._may_read_more():
            return True, None
        if self._reads is None:
            self._reads = []
        return False, self._wait_in(self._reads, item)

    def _may_read_more(self) -> bool:
        return len(self._reading) - len(self._still_reading) < READS

    def _next_read(self) -> Item | None:
        if not self._reads or not self._may_read_more():
            return None
        item = self._reads.pop(0)
        self._reading += (item,)
        return item

    # -- running -----------------------------------------------------------------------------------
    def _start(self, item: Item) -> None:
        if item.on_loop:
            item.begin(lambda: self._ended(item))
        else:
            quick = item.quick
            self._executor.submit(partial(self._run, item, quick), quick=quick)

    def _run(self, item: Item, quick: bool) -> None:  # noqa: FBT001 - partial()
        """``quick``: by the thread that runs what is; else by one of the others."""
        for _ in range(IN_A_ROW):
            try:
                item.run()
            except BaseException:  # noqa: BLE001 - a defect of ours; other callers still wait
                import traceback

                traceback.print_exc()
            following = self._next(item)
            if following is None:
                return
            # A thread that was taken for a quick call may be the one that others wait for; what is
            # quick by now goes back to it.
            if following.on_loop or quick or following.quick:
                self._start(following)
                return
            item = following
        self._executor.submit(partial(self._run, item, quick))

    def _ended(self, item: Item) -> None:
        following = self._next(item)
        if following is not None:
            self._start(following)

    def _next(self, item: Item) -> Item | None:
        with self._lock:
            if item.readonly:
                self._reading = _without(self._reading, item)
                return self._next_read() or self._next_turn()
            self._running.remove(item)
            if item in self._sharing:
                self._sharing = _without(self._sharing, item)
                self._shift.notify_all()
            return (self._let_in() or self._next_turn()) if self._waiting else None

    def _next_turn(self) -> Item | None:
        """The next one to be started, if there is room; a stream that goes on starts itself."""
        while self._waiting and self._has_room():
            item = self._waiting.pop(0)
            self._running.append(item)
            if item not in self._returning:
                return item
            self._returning = _without(self._returning, item)
            self._shift.notify_all()
        return None

    def withdraw(self, item: Item) -> bool:
        """Take it out of the queue; False if it is not waiting there (any more)."""
        with self._lock:
            if item in self._returning:  # it needs its turn to end
                return False
            waiting = self._reads if item.readonly else self._waiting
            if waiting is None or item not in waiting:
                return False
            waiting.remove(item)
            return True

    # -- streams that stand still ------------------------------------------------------------------
    def stall(self, item: Item) -> None:
        """The running stream ``item`` waits for its readers, who may call the agent meanwhile."""
        with self._lock:
            if item.readonly:
                self._still_reading += (item,)
                following = self._next_read()
            else:
                self._stalled += (item,)
                if item not in self._sharing:
                    self._sharing += (item,)
                self._shift.notify_all()
                following = self._let_in()
        if following is not None:
            self._start(following)

    def leave(self, item: Item) -> None:
        """Nobody reads the stalled stream: its turn goes to whoever waits for one."""
        with self._lock:
            if item not in self._stalled or item in self._resuming:
                return
            self._stalled = _without(self._stalled, item)
            self._sharing = _without(self._sharing, item)
            self._running.remove(item)
            self._left += (item,)
            self._shift.notify_all()
            following = self._next_turn()
        if following is not None:
            self._start(following)

    def unstall(self, item: Item) -> None:
        """It wants to go on: no further call is let in for its sake."""
        following = None
        with self._lock:
            if item in self._left:
                self._left = _without(self._left, item)
                self._returning += (item,)
                self._waiting.append(item)
                following = self._next_turn()
            elif item in self._stalled and item not in self._resuming:
                self._resuming += (item,)
        if following is not None:
            self._start(following)

    def resume(self, item: Item) -> None:
        """It goes on: once nothing else runs in the turn that it shares, or it has another one."""
        self.unstall(item)
        with self._lock:
            if item.readonly:
                self._still_reading = _without(self._still_reading, item)
            elif item in self._stalled:
                while self._busy_beside(item) >= self._options.max_concurrency:
                    self._shift.wait()
                self._stalled = _without(self._stalled, item)
                self._resuming = _without(self._resuming, item)
            else:
                while item in self._returning:
                    self._shift.wait()

    def _busy_beside(self, item: Item) -> int:
        return sum(i is not item and i not in self._stalled for i in self._sharing)

    def _let_in(self) -> Item | None:
        if not self._stalled:
            return None
        guest = next((i for i in self._waiting if self._is_guest(i)), None)
        if guest is not None:
            self._waiting.remove(guest)
            self._sharing += (guest,)
            self._running.append(guest)
        return guest

    def _is_guest(self, item: Item) -> bool:
        """One of a reader of a stream that stands still; one at a time."""
        return (
            any(item.who in s.guests and s not in self._resuming for s in self._stalled)
            and item not in self._returning
            and all(i in self._stalled for i in self._running)
        )

    # -- chains ------------------------------------------------------------------------------------
    def waits(self, key: bytes, *, begins: bool) -> None:
        """A running call begins (ends) to wait for the call ``key``."""
        with self._lock:
            if not begins:
                self._awaited[key] -= 1
                if not self._awaited[key]:
                    del self._awaited[key]
                return
            if self._awaited is _NONE:
                self._awaited = {}
            self._awaited[key] = self._awaited.get(key, 0) + 1
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

    def _comes_back(self, item: Item, awaited: Collection[bytes]) -> bool:
        return item not in self._returning and any(
            agent == self._agent and key in awaited for agent, key in item.chain
        )

    # -- ending ------------------------------------------------------------------------------------
    def close(self, error: AgentdError) -> list[Item]:
        """Refuse all that waits and all that comes; the items that still run."""
        with self._lock:
            self._closed = error
            refused = [
                i for i in (*self._waiting, *(self._reads or ())) if i not in self._returning
            ]
            self._waiting = list(self._returning)
            self._reads = None
            unread = self._left
            running = [*self._running, *self._reading, *self._returning]
        for item in refused:
            item.refuse(error)
        for item in unread:
            item.give_up(error)
        return running

    @property
    def depth(self) -> int:
        """How many calls wait."""
        return len(self._waiting) + len(self._reads or ())


def _without(items: tuple[Item, ...], item: Item) -> tuple[Item, ...]:
    return tuple(each for each in items if each is not item)


def _deadlock(agent: bytes, item: Any) -> WouldDeadlock:
    names = [show(a)[:8] for a, _key in item.chain] + [show(agent)[:8]]
    return WouldDeadlock(
        f"the call would wait for itself: {' -> '.join(names)}; create agent {names[-1]} with "
        "reentrant=True to let such calls run as part of its turn",
        agent=show(agent),
        chain=names,
    )
