"""Agents are built in a row: one after the other on one thread, as long as that is quick.

Most constructors take microseconds, a thread for each would cost more than all of them. Those that
are slow hold up nobody: where one takes longer than a *tick* or two, another thread goes on with
the row, and the next ones of that kind get a thread each. Of the kinds that have been quick for a
while, as methods are (see ``pace``), it is the thread that reads the orders, as for quick calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from agentd.worker.executor import Executor
from agentd.worker.pace import Pace

__all__ = ["Row"]

TICK_S: Final = 0.01
SLOW_S: Final = 0.005
"""Two of a kind that took longer, one after the other, are slow: the first may have been held up by
other processes."""
HEAVY_S: Final = 0.1
"""But the first one of all, which often imports something, is slow only if it took longer than
this."""
SLOW_APART_S: Final = 0.02
"""The same of those that have a thread each: these hold up one another."""
APART: Final = 8
"""After a slow one so many of its kind get a thread each; twice as many if there is one among
them, and so on."""
MOST_APART: Final = 4096
PROOF: Final = 2
"""So many quick ones in a row, and a kind counts as quick for the thread that reads. Fewer than of
calls: few agents of a class are made with time between them, and each on a thread of its own costs
ten times what it costs there."""
MOST_KINDS: Final = 1000
TOGETHER: Final = 32
"""What quick ones have to tell is told after so many of them, or at the end of the row."""


class Row:
    """Runs tasks of several kinds. From any thread."""

    def __init__(
        self,
        executor: Executor,
        later: Callable[[float, Callable[[], None]], None],
        pause: Callable[[], None],
        pause_soon: Callable[[], None],
    ) -> None:
        """``later``: call something in so many seconds.

        ``pause``: called when there is time to tell what the tasks have to tell. ``pause_soon``:
        the same, once the thread that runs what is quick has read what has come.
        """
        self._executor = executor
        self._later = later
        self._pause = pause
        self._pause_soon = pause_soon
        self._lock = threading.Lock()  # protects all below
        self._tasks: deque[tuple[str, Callable[[], None]]] = deque()
        self._runner: object | None = None  # the thread that goes on with the row
        self._watched = False
        self._begun = 0  # tasks
        self._seen = 0  # of them at the last look
        self._kind = ""  # of the one that runs in the row
        self._quick: set[str] = set()  # kinds of which the last one in the row was not slow
        self._pace = Pace(set(), PROOF)  # by kind: which are quick enough for the thread that reads
        self._apart: dict[str, int] = {}  # by kind: so many of the next ones get a thread each
        self._proof: dict[str, int] = {}  # by kind: how many that were the last time

    def submit(self, kind: str, task: Callable[[], None]) -> None:
        """Run the task soon; it must not raise."""
        with self._lock:
            self._tasks.append((kind, task))
            runner = None
            if self._runner is None:
                runner = self._runner = object()
            quick = self._pace.is_quick(kind)
            watch, self._watched = not self._watched, True
        if runner is not None:
            self._executor.submit(partial(self._run, runner, quick), quick=quick)
        if watch:
            self._later(TICK_S, self._look)

    def _run(self, runner: object, quick: bool = False) -> None:  # noqa: FBT001, FBT002 - partial()
        """``quick``: by the thread that runs what is, and so nothing else."""
        last = ""
        while True:
            with self._lock:
                if self._runner is not runner:  # somebody else goes on
                    break
                self._kind = ""
                if not self._tasks:
                    self._runner = None
                    break
                kind, task = self._tasks[0]
                # Back only behind one of that kind: where they alternate, nothing would be gained.
                if quick != self._pace.is_quick(kind) and (quick or kind == last):
                    self._executor.submit(partial(self._run, runner, not quick), quick=not quick)
                    break
                last = kind
                self._tasks.popleft()
                apart = self._apart.get(kind, 0)
                if apart:
                    self._apart[kind] = apart - 1
                self._begun += 1
                self._kind = "" if apart else kind
                pause = kind not in self._quick or not self._begun % TOGETHER
            if apart:
                self._executor.submit(partial(self._alone, kind, task))
                continue
            if pause:
                self._pause()
            seconds = _timed(task)
            del task  # what it holds must not live until the next one comes
            with self._lock:
                first = not self._pace.knows(kind)
                self._note(kind, seconds)
                if self._runner is not runner:
                    pass  # it has been found slow
                elif seconds <= SLOW_S:
                    self._found_quick(kind)
                elif kind in self._quick or (first and seconds <= HEAVY_S):  # may be by chance
                    self._quick.discard(kind)
                else:
                    self._found_slow(kind, APART)
        if quick:
            self._pause_soon()
        else:
            self._pause()

    def _note(self, kind: str, seconds: float) -> None:
        if len(self._pace) >= MOST_KINDS:
            self._pace = Pace(set(), PROOF)
        self._pace.note(kind, seconds)

    def _alone(self, kind: str, task: Callable[[], None]) -> None:
        proof = self._proof.get(kind, APART)
        seconds = _timed(task)
        with self._lock:
            self._note(kind, seconds)
            if self._pace.is_quick(kind):
                self._apart.pop(kind, None)
            # What several found that ran at once counts once: they may have waited for one import.
            elif seconds > SLOW_APART_S and self._proof.get(kind, APART) <= proof:
                self._found_slow(kind, 2 * proof)
        self._pause()

    def _found_quick(self, kind: str) -> None:
        if len(self._quick) >= MOST_KINDS:
            self._quick.clear()
        self._quick.add(kind)
        self._proof.pop(kind, None)
        self._apart.pop(kind, None)

    def _found_slow(self, kind: str, apart: int) -> None:
        self._quick.discard(kind)
        if kind not in self._proof and len(self._proof) >= MOST_KINDS:
            self._proof.clear()
            self._apart.clear()
        self._proof[kind] = self._apart[kind] = min(apart, MOST_APART)

    def _look(self) -> None:
        runner = None
        with self._lock:
            if self._runner is None:
                self._watched = False
                return
            stuck = self._begun == self._seen
            self._seen = self._begun
            if stuck and self._tasks and self._kind:
                self._found_slow(self._kind, max(APART, self._proof.get(self._kind, 0)))
                runner = self._runner = object()
        if runner is not None:
            self._executor.submit(partial(self._run, runner))
        if stuck:
            self._pause()
        self._later(TICK_S, self._look)


def _timed(task: Callable[[], None]) -> float:
    began = time.monotonic()
    try:
        task()
    except BaseException:  # noqa: BLE001 - a defect of ours; others still wait
        import traceback

        traceback.print_exc()
    return time.monotonic() - began
