"""Who runs the loop of a worker: one thread at a time, which also runs short calls itself.

Handing a call to another thread and back costs more than most calls do. So the thread that runs the
loop (the *leader*; after leader/followers, Schmidt et al., PLoP 2000) runs what has always been
quick itself, and its answers leave together. Nobody waits for it: where a call takes longer than it
used to, a *watch* has another thread lead within hundredths of a second, as Go's ``sysmon`` takes a
processor from a goroutine that is in a system call; where it begins to wait for another call, the
thread gives the lead away at once. Either way the call goes on where it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from agentd.transport.localrouter import LocalRouter
from agentd.transport.lookout import Lookout
from agentd.transport.loop import Loop
from agentd.transport.processors import move
from agentd.worker.executor import Executor

__all__ = ["Leading"]

TICK_S: Final = 0.01
"""A call keeps the leader for less than two of these. The watch needs the interpreter lock at each:
more often would be felt by every hundredth call."""
REST_TICKS: Final = 10
"""Ticks without a task after which the watch sleeps until there is one."""
HELD_S: Final = 0.0005
"""Answers wait so long at most for those that leave with them, while calls are quick."""
BULK_S: Final = 0.002
"""The same for a peer of which many calls have been read: it has enough to wait for, and each time
it is woken costs both sides more than the calls do."""

ROW_S: Final = 0.0003
"""For so long calls that had waited for their turns are run one after the other, until it is looked
what else has come."""


def _go_on() -> None:
    """The loop does not wait for something to come."""


class Leading:
    """Runs the loop of a worker, on threads of its executor."""

    def __init__(self, loop: Loop, executor: Executor, front: LocalRouter) -> None:
        self._loop = loop
        self._executor = executor
        self._front = front
        # What was held back would wait for that task, and so would who is told that it is accepted.
        executor.on_start = front.let_go
        executor.hand_over = self._hand_over
        self._lock = threading.Lock()  # protects who leads
        self._leader = 0
        self._busy = False  # the leader runs a task
        self._tasks = 0  # run by leaders so far
        self._held = 0.0  # since when answers are held back; 0: they are not
        self._watching = False
        self._lookout = Lookout(move=move)
        self._bed = threading.Lock()  # the watch sleeps on it
        self._bed.acquire()
        self._over = threading.Event()

    def run(self) -> None:
        """Until the loop is stopped. The calling thread only waits, so that it can take signals."""
        self._loop.after = self._after
        threading.Thread(target=self._watch, name="agentd-watch", daemon=True).start()
        self._executor.start(self._lead)
        self._over.wait()

    def _hand_over(self, task: Callable[[], None]) -> None:
        """A quick task that another thread came to: whoever leads runs it."""
        self._loop.call_soon(partial(self._executor.submit, task, quick=True))

    def gives_way(self) -> None:
        """The running task begins to wait for something that may take the loop to come."""
        if threading.get_ident() == self._leader:
            self._take_over(self._tasks)

    def _lead(self) -> None:
        with self._lock:
            self._leader = threading.get_ident()
            self._loop.lead()
            self._executor.collect()
        while self._loop.running:
            before = self._tasks
            if not self._loop.turn() or not self._after():  # timers and others submit tasks, too
                return
            self._let_go(BULK_S)
            # One client that waits for each answer; of many there is always something to do.
            self._loop.lookout = self._lookout if self._tasks == before + 1 else None
        self._let_go()
        self._over.set()

    def _after(self) -> bool:
        """A message has been delivered: run what is quick; whether this thread still leads."""
        until = 0.0
        while tasks := self._executor.collected:
            if not self._run(tasks.popleft(), more=until > 0.0):
                return False
            if not self._executor.collected:
                break
            now = time.monotonic()
            until = until or now + ROW_S
            if now >= until:
                self._loop.call_soon(_go_on)
                break
        return True

    def _run(self, task: Callable[[], None], *, more: bool) -> bool:
        """``more``: it is not the only one."""
        if not self._held and (more or self._loop.backlog):
            self._front.hold_back()
            self._held = time.monotonic()
        self._tasks += 1
        if not self._watching:
            self._wake_watch()
        self._busy = True
        task()
        with self._lock:
            if self._leader != threading.get_ident():
                return False
            self._busy = False
        if self._held and time.monotonic() - self._held > HELD_S:
            self._let_go(BULK_S)
        return True

    def _let_go(self, patience_s: float = 0.0) -> None:
        if self._held:
            still = self._front.let_go(patience_s)
            self._held = time.monotonic() if still else 0.0

    def _wake_watch(self) -> None:
        with self._lock:
            if not self._watching:
                self._watching = True
                self._bed.release()

    def _watch(self) -> None:
        while True:
            self._bed.acquire()
            rest, seen = 0, -1
            while rest < REST_TICKS or not self._may_sleep(seen):
                before, seen = seen, self._tasks
                if self._busy and seen == before:
                    self._take_over(seen)
                rest = rest + 1 if seen == before else 0
                time.sleep(TICK_S)

    def _may_sleep(self, seen: int) -> bool:
        """Whether no task came since; whoever has the next one wakes the watch."""
        with self._lock:
            self._watching = self._tasks != seen
            return not self._watching

    def _take_over(self, seen: int) -> None:
        """The leader is in that task for too long: have another thread lead."""
        with self._lock:
            if not self._busy or self._tasks != seen:
                return
            self._busy = False
            self._leader = 0
            self._let_go()
            self._executor.dismiss()
        self._executor.start(self._lead)
