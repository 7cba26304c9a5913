"""How much of the loop's time one peer may have while others want some, too. Pure.

Whoever keeps a daemon busy all the time keeps processors busy: the daemon's, its own and a
worker's. Then everybody's calls wait for a processor, however fairly the daemon takes turns. So a
peer that has had more than its portion, and so disturbs somebody who has less, is *held back*: from
then on it rests whenever it is ahead, until that is made up for. Who is alone has all of the time,
several who are held back share it, and nobody rests because of somebody who is, or whose messages
help nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from agentd.transport.shares import ALONE_S

__all__ = ["AHEAD_S", "CROWD", "FIRST_S", "MOST_S", "Portions"]

AHEAD_S: Final = 0.0003
"""So much more than its portion may have had, before it rests, who is held back: a share of
messages. What comes in one go is what others wait behind: with 0.001 the p99 beside calls without
end was 1.5 times that."""
TWICE: Final = 2
"""Who has had so many times as much as somebody who is held back is no better than that one."""
FIRST_S: Final = 0.001
"""What was before somebody was held back is made up for as far as this."""
MOST_S: Final = 0.005
"""More is not charged for one turn, as that was no work for messages; nor is anybody further ahead:
of who sends too much to be held some is served while it rests, which would go on for long then."""
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
        """``portion``: of the loop's time, for one who is held back; 1: all of it.

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
        self._had: dict[str, float] = {}
        """Seconds that each has had who spoke in this stretch of ``ALONE_S``."""
        self._had_before: dict[str, float] = {}
        """The same of the stretch before."""
        self._held: set[str] = set()
        """Who was ahead in this stretch, and held back."""
        self._held_before: set[str] = set()
        self._vain: set[str] = set()
        """Who said something in this stretch that helps nobody."""
        self._vain_before: set[str] = set()
        self._next_at = clock() + ALONE_S
        """When the next stretch begins."""
        self.rests = 0
        """How often somebody had to rest."""

    def count(self, peer: str) -> None:
        """Something is done in this turn for that peer: a message of it is served, or answered."""
        self._counted[peer] = self._counted.get(peer, 0) + 1

    def ignore(self, peer: str) -> None:
        """What it said helps nobody: for ``ALONE_S`` at least nobody rests because of that peer."""
        self._vain.add(peer)

    def settle(self) -> None:
        """A turn begins: what was done in the one before is charged."""
        counted, self._counted = self._counted, {}
        before, self._before = self._before, self._spent()
        if not counted or self._portion >= 1:
            return
        now = self._clock()
        if now >= self._next_at:
            self._begin_stretch(now)
        each = min(self._before - before, MOST_S) / sum(counted.values())
        for peer, count in counted.items():
            self._had[peer] = self._had.get(peer, 0.0) + count * each
        for peer, count in counted.items():
            self._charge(peer, count * each, now)

    def _begin_stretch(self, now: float) -> None:
        if now >= self._next_at + ALONE_S:  # what was before is long ago
            self._had, self._held, self._vain = {}, set(), set()
        self._had_before, self._held_before, self._vain_before = self._had, self._held, self._vain
        self._had, self._held, self._vain = {}, set(), set()
        self._next_at = now + ALONE_S

    def _charge(self, peer: str, seconds: float, now: float) -> None:
        if len(self._ahead) > CROWD:
            self._ahead = {p: a for p, a in self._ahead.items() if self._left(a, now) > 0}
            self._until = {p: until for p, until in self._until.items() if until > now}
        ahead = min(self._left(self._ahead.get(peer, (0.0, now)), now) + seconds, MOST_S)
        if ahead > AHEAD_S:
            if self._is_held(peer):
                self._held.add(peer)
            elif self._disturbs(peer, now):
                self._held.add(peer)
                ahead = min(ahead, FIRST_S)
            if self._is_held(peer) and not all(map(self._is_held, self._others(peer))):
                self.rests += self.until(peer) == 0.0
                self._until[peer] = now + ahead / self._portion
        self._ahead[peer] = (ahead, now)

    def _disturbs(self, peer: str, now: float) -> bool:
        """Whether it has had more than its portion of late, and somebody speaks who has less."""
        mine = self._of_late(peer)
        if mine <= self._portion * (now - self._next_at + 2 * ALONE_S):
            return False
        return any(
            self._of_late(other) * (TWICE if self._is_held(other) else 1) < mine
            for other in self._others(peer)
        )

    def _others(self, peer: str) -> Iterator[str]:
        for other in chain(self._had, self._had_before):
            if other != peer and other not in self._vain and other not in self._vain_before:
                yield other

    def _is_held(self, peer: str) -> bool:
        return peer in self._held or peer in self._held_before

    def _of_late(self, peer: str) -> float:
        return self._had.get(peer, 0.0) + self._had_before.get(peer, 0.0)

    def until(self, peer: str) -> float:
        """When that peer is to be served again; 0: now."""
        until = self._until.get(peer, 0.0)
        if until and until <= self._clock():
            del self._until[peer]
            return 0.0
        return until

    def _left(self, ahead: tuple[float, float], now: float) -> float:
        return max(0.0, ahead[0] - (now - ahead[1]) * self._portion)
