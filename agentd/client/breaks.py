"""How often a connection may break under one call: in quick succession, not over its life."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["MOVES", "Breaks", "backoff"]

MOVES: Final = 5
"""How often a call follows an agent that moved before it gives up."""
MANY: Final = 5
LONG_S: Final = 3.0
"""Breaks end a call when there were ``MANY`` of them, and for so long; a connection that held for
twice as long had healed, and the next break is a first one."""


class Breaks:
    """The breaks that one call has met."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = 0.0
        self._last = 0.0
        self.number = 0
        """In the present succession."""

    def one_more(self) -> bool:
        """It broke again; False when that is enough."""
        now = self._clock()
        if not self.number or now - self._last > 2 * LONG_S:
            self.number, self._began = 0, now
        self.number += 1
        self._last = now
        return self.number < MANY or now - self._began < LONG_S

    @property
    def pause(self) -> float:
        """Seconds before the next attempt."""
        return backoff(self.number - 1)


def backoff(attempt: int) -> float:
    """Seconds before a connection is made again: 0.02, 0.04, … to 1, with jitter."""
    delay = min(1.0, 0.02 * 2.0 ** min(attempt, 10))
    import random

    return delay * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
