"""Waiting for what comes at once: looking for it again and again, where that is cheaper than sleep.

To send a thread to sleep and wake it costs the two sides of a small call more than the call does:
a system call that wakes, a processor that has to start, caches that are cold then. Who waits for
less than that had better stay awake; who does not know pays at most twice the least that he could
have paid if he stays awake for as long as a sleep would cost (Karlin et al., "Competitive
randomized algorithms for nonuniform problems", SODA 1990, on spinning before blocking).

Nobody else is to pay for it: it is done only where what is waited for has been quick for a while,
while there is a processor for everybody who wants to run, and given up where one is missed.

The two sides of a call may share a processor for long while another one is idle: the kernel wakes a
thread where it was, and moves none that has just run. Where one of them sees that, it moves.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import ClassVar, Final, TypeVar

from agentd.transport.processors import Processors, available

__all__ = ["Lookout"]

T = TypeVar("T")

AWAKE_S: Final = 0.0003
"""So long it stays awake. The shortest call takes 60 us on a quick machine, and 200 on one that
shares its processors with others, where to sleep and wake costs 100."""
ASLEEP_S: Final = 0.0006
"""What took no longer asleep may be there within ``AWAKE_S``, to one who is awake."""
STALL_S: Final = 0.0001
"""Two looks that are further apart: the processor was somebody else's meanwhile, or Python's lock
was, or it is wanted. Who finds what it waits for then is forgiven once: that somebody else may have
been the one that sent it."""
SHARED_S: Final = 0.00002
"""Two looks so far apart, and then it had come: whoever it came from had this processor meanwhile.
Alone, looks are 1 to 2 us apart, and a turn of the shortest call takes 30."""
MEETINGS: Final = 4
"""So often in a row, and they share it; after each move twice as many."""
PROOF: Final = 8
"""So many short waits in a row, and it pays."""
LONGEST_PROOF: Final = 4096
"""After each time that it did not pay twice as many, up to this; half as many again after ``PROOF``
times that it did."""


@functools.cache
def _processors() -> Processors:
    return Processors(available())


class Lookout:
    """For one who waits again and again; one thread at a time."""

    _busy: ClassVar[bool] = False
    """Of all in this process: there is one lock for Python's code."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        enough: Callable[[float], bool] = lambda now: _processors().are_enough(now),
        pause: Callable[[], None] = os.sched_yield,
        move: Callable[[], None] | None = None,
    ) -> None:
        """``enough``: whether there are processors for all, at that time.

        ``pause``: lets others have the processor, if any want it. ``move``: has this thread go on
        at another one.
        """
        self._clock = clock
        self._enough = enough
        self._pause = pause
        self._short = 0
        """Waits in a row that were short; once awake, those that paid."""
        self._proof = PROOF
        self._awake = False
        self._move = move
        self._meetings = 0
        self._most_meetings = MEETINGS
        self._stalled = False

    def wait(self, look: Callable[[], T], sleep: Callable[[], T]) -> T:
        """What ``look`` finds, which does not wait, or else what ``sleep`` does."""
        began = self._clock()
        if self._awake and not Lookout._busy and self._enough(began):
            Lookout._busy = True
            try:
                found = self._watch(look)
            finally:
                Lookout._busy = False
            if found:
                return found
        found = sleep()
        self._slept(self._clock() - began)
        return found

    def _watch(self, look: Callable[[], T]) -> T:
        clock, pause = self._clock, self._pause
        before = clock()
        until = before + AWAKE_S
        while True:
            found = look()
            now = clock()
            gap = now - before
            if found and now < until and self._is_forgiven(gap):
                self._paid()
                if gap > SHARED_S:
                    self._met()
                else:
                    self._meetings = 0
                return found
            if now >= until or gap > STALL_S:
                break
            before = now
            pause()
        self._awake = False
        self._short = 0
        self._proof = min(2 * self._proof, LONGEST_PROOF)
        return found

    def _is_forgiven(self, gap: float) -> bool:
        """A stall is, after which it was there; not one after the other."""
        stalled = gap > STALL_S
        forgiven = not (stalled and self._stalled)
        self._stalled = stalled and forgiven
        return forgiven

    def _met(self) -> None:
        """Who sent it and this thread take turns at one processor."""
        self._meetings += 1
        if self._move is not None and self._meetings >= self._most_meetings:
            self._meetings = 0
            self._most_meetings = min(2 * self._most_meetings, LONGEST_PROOF)
            self._move()

    def _paid(self) -> None:
        self._short += 1
        if self._short >= PROOF:
            self._short = 0
            self._proof = max(PROOF, self._proof // 2)

    def _slept(self, seconds: float) -> None:
        if seconds > ASLEEP_S:
            self._short = 0
            return
        self._short += 1
        if self._short >= self._proof:
            self._short = 0
            self._awake = True
