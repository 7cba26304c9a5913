"""When to knock at a daemon on another host that is gone, while nobody needs it.

Whether it is there can only be found by connecting. While it may still keep this client's lease,
that is done often enough to be back in time; later, ever more rarely.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

__all__ = ["FIRST_S", "MOST_S", "Knocks"]

FIRST_S: Final = 2.0
"""The pause after the first knock that nobody heard; it doubles from one to the next."""
MOST_S: Final = 60.0
"""The longest: clients without number, left by a daemon that stays away, are no load to anybody."""


class Knocks:
    """Those at one daemon. Times are of the caller's clock, in seconds."""

    def __init__(self, spread: Callable[[float, float], float] = random.uniform) -> None:
        """``spread``: keeps clients that lost the same daemon from coming at the same moment."""
        self._spread = spread
        self._number = 0
        self._began = 0.0
        self._next = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time for the next."""
        return now >= self._next

    def unheard(self, now: float, grace_s: float) -> None:
        """Nobody answered. ``grace_s``: how long the daemon keeps the lease of a silent client."""
        if not self._number:
            self._began = now
        pause = min(FIRST_S * 2.0 ** min(self._number, 10), MOST_S)
        if now - self._began < grace_s:
            pause = min(pause, grace_s / 3)
        self._number += 1
        self._next = now + pause * self._spread(0.75, 1.25)

    def heard(self) -> None:
        """The daemon is there: the next time it is gone is a first one."""
        self._number, self._next = 0, 0.0
