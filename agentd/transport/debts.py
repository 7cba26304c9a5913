"""Who makes work that helps nobody: refusals and questions about the daemon, by the hundred.

Such a peer is still served, but slowly, and only while nobody else has anything to say: what it
sends waits on its own side. So a flood of it costs this process a small part of a core, instead of
all that there is. Whoever makes calls that are carried out owes nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["REST_S", "Debts"]

CREDIT: Final = 200.0
"""So much is nobody's concern: a program that meets a limit with all its calls at once."""
PAID_BACK: Final = 200.0
"""In a second: as much as is done for somebody in debt, so that who goes on stays there."""
DEAR_BYTES: Final = 64 * 1024
"""So many bytes count as one more."""
REST_S: Final = 0.01
"""Between two shares of somebody in debt."""
CROWD: Final = 1_000
"""With more debtors than that, those who have paid back are looked for."""


class Debts:
    """What each peer owes."""

    def __init__(self, clock: Callable[[], float], paid_back: float = PAID_BACK) -> None:
        """``paid_back``: in a second."""
        self._clock = clock
        self._paid_back = paid_back
        self._owed: dict[Hashable, tuple[float, float]] = {}
        """How much, and when that was so."""

    def charge(self, peer: Hashable, size: int = 0) -> None:
        """A message of that size made work that helps nobody."""
        now = self._clock()
        if len(self._owed) >= CROWD and peer not in self._owed:
            self._owed = {p: o for p, o in self._owed.items() if self._left(o, now) > 0}
        left = self._left(self._owed.get(peer, (0.0, now)), now)
        # Not more than twice the credit: whoever stops is soon a peer like any other.
        self._owed[peer] = (min(2 * CREDIT, left + 1 + size // DEAR_BYTES), now)

    def owes(self, peer: Hashable) -> bool:
        """Whether it is to be served slowly now."""
        owed = self._owed.get(peer)
        return owed is not None and self._left(owed, self._clock()) > CREDIT

    def forget(self, peer: Hashable) -> None:
        """It has gone."""
        self._owed.pop(peer, None)

    def _left(self, owed: tuple[float, float], now: float) -> float:
        return max(0.0, owed[0] - (now - owed[1]) * self._paid_back)
