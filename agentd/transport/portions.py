"""How much of the loop's time one peer may have while others want some, too. Pure.

Whoever keeps a daemon busy all the time keeps processors busy: the daemon's, its own and a
worker's. Then everybody's calls wait for a processor, however fairly the daemon takes turns. So a
peer that has had more than its portion rests until that is made up for, if anybody else has
spoken of late. Several who are busy share all of the time; only one alone leaves some of it unused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from agentd.transport.shares import ALONE_S

__all__ = ["AHEAD_S", "MOST_S", "Portions"]

AHEAD_S: Final = 0.0003
"""So much more than its portion a peer may have had before it rests: a share of messages. What comes
in one go is what others wait behind: with 0.001 the p99 beside calls without end was twice that."""
MOST_S: Final = 0.005
"""More is not charged for one turn: that was no work for messages."""
CROWD: Final = 1_000
"""With more peers than that, those that are not ahead are forgotten."""


class Portions:
    """What each peer has had, and until when it rests for that. For all doors of a loop together.

    Used in the loop's thread only.
    """

    def __init__(
        self,
        portion: float,
        clock: Callable[[], float],
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """``portion``: of the loop's time, for one peer beside whom others speak; 1: all of it.

        ``spent``: seconds of processor time that this thread has used.
        """
        self._portion = portion
        self._clock = clock
        self._spent = spent
        self._before = spent()
        self._counted: dict[str, int] = {}
        self._ahead: dict[str, tuple[float, float]] = {}
        """Seconds that a peer has had beyond its portion, and when that was so."""
        self._until: dict[str, float] = {}
        self._last = ""
        self._last_at = self._other_at = float("-inf")
        self.rests = 0
        """How often somebody had to rest."""

    def came(self, peer: str) -> None:
        """A message of that peer is served next."""
        if peer != self._last:
            self._other_at = self._last_at
            self._last = peer
        self._last_at = self._clock()
        self.count(peer)

    def count(self, peer: str) -> None:
        """What is done in this turn is done for that peer, too."""
        self._counted[peer] = self._counted.get(peer, 0) + 1

    def settle(self) -> None:
        """A turn begins: what was done in the one before is charged."""
        counted, self._counted = self._counted, {}
        before, self._before = self._before, self._spent()
        if counted and self._portion < 1:
            each = min(self._before - before, MOST_S) / sum(counted.values())
            for peer, count in counted.items():
                self._charge(peer, count * each)

    def _charge(self, peer: str, seconds: float) -> None:
        now = self._clock()
        if len(self._ahead) > CROWD:
            self._ahead = {p: a for p, a in self._ahead.items() if self._left(a, now) > 0}
            self._until = {p: until for p, until in self._until.items() if until > now}
        ahead = self._left(self._ahead.get(peer, (0.0, now)), now) + seconds
        self._ahead[peer] = (ahead, now)
        alone_since = self._other_at if peer == self._last else self._last_at
        if ahead > AHEAD_S and alone_since > now - ALONE_S:
            self.rests += self.until(peer) == 0.0
            self._until[peer] = now + ahead / self._portion

    def until(self, peer: str) -> float:
        """When that peer is to be served again; 0: now."""
        until = self._until.get(peer, 0.0)
        if until and until <= self._clock():
            del self._until[peer]
            return 0.0
        return until

    def _left(self, ahead: tuple[float, float], now: float) -> float:
        return max(0.0, ahead[0] - (now - ahead[1]) * self._portion)
