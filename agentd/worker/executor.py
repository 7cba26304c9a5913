"""Threads for running agents: as many as there are busy agents, fewer when it is quiet.

Not ``concurrent.futures.ThreadPoolExecutor``: that one never gives threads back, builds a future
per task that nobody would look at, and joins its threads at exit, so that one stuck agent would
keep the process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["AFew", "Executor"]

IDLE_S = 10.0
"""A thread without work for that long ends."""


class Executor:
    """Runs every task at once: on an idle thread, else on a new one.

    Quick tasks that one thread submits may be collected instead: it runs them itself (see
    ``agentd.worker.leading``).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects all below
        self._tasks: deque[Callable[[], None]] = deque()
        self._idle: list[threading.Lock] = []  # each held by a sleeping thread; release wakes it
        self._started = 0  # and have not ended
        self._collector = 0
        self.collected: deque[Callable[[], None]] = deque()
        """Quick tasks; taken by the thread that collects them only."""
        self.on_start: Callable[[], object] = lambda: None
        """Called before another thread gets a task: that may keep Python's lock for long."""
        self.hand_over: Callable[[Callable[[], None]], None] = self.start
        """Called with each quick task that another thread submits than the one that collects."""

    def submit(self, task: Callable[[], None], *, quick: bool = False) -> None:
        """Run ``task``; it must not raise. From any thread. ``quick``: it may be collected."""
        if not quick:
            self.start(task)
        elif threading.get_ident() != self._collector:
            self.hand_over(task)
        else:
            collected = self.collected
            collected.append(task)
            if threading.get_ident() != self._collector:  # dismissed just now
                try:
                    collected.remove(task)
                except ValueError:  # it was seen there, and is run
                    return
                self.start(task)

    def collect(self) -> None:
        """Collect the quick tasks that this thread submits, from now on."""
        with self._lock:
            self._collector = threading.get_ident()

    def dismiss(self) -> None:
        """Nobody collects any more; what was not run is run by others."""
        with self._lock:
            self._collector = 0
            left, self.collected = self.collected, deque()
        while left:  # who collects may be about to add to it; then he sees that he was dismissed
            self.start(left.popleft())

    def start(self, task: Callable[[], None]) -> None:
        """Run ``task`` on another thread; it must not raise. From any thread."""
        self.on_start()
        with self._lock:
            self._tasks.append(task)
            if self._idle:
                self._idle.pop().release()
                return
            self._started += 1
            name = f"agentd-run-{self._started}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # no more threads for this process, user or container
            with self._lock:
                self._started -= 1
                alone = self._started == 0
            if alone:  # else the task waits until one of the others is free
                raise

    def _work(self) -> None:
        bed = threading.Lock()
        bed.acquire()
        while True:
            with self._lock:
                task = self._tasks.popleft() if self._tasks else None
                if task is None:
                    self._idle.append(bed)
            if task is not None:
                task()
                del task  # what it holds must not live until the next one comes
            elif not bed.acquire(timeout=IDLE_S):
                with self._lock:
                    if bed in self._idle:
                        self._idle.remove(bed)
                        self._started -= 1
                        return
                bed.acquire()  # somebody woke us just as we gave up


class AFew:
    """Runs tasks on an executor, at most ``most`` at once, in the order they came."""

    def __init__(self, executor: Executor, most: int) -> None:
        self._executor = executor
        self._free = most
        self._lock = threading.Lock()  # protects the one above and the one below
        self._tasks: deque[Callable[[], None]] = deque()

    def submit(self, task: Callable[[], None]) -> None:
        """Run ``task`` when it is its turn; it must not raise. From any thread."""
        with self._lock:
            self._tasks.append(task)
            if not self._free:
                return
            self._free -= 1
        self._executor.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._free += 1
                    return
                task = self._tasks.popleft()
            task()
            del task
