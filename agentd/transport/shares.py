"""How much of one turn of the loop a peer may have, so that the others do not wait long behind it.

Whoever sends more than the rest is served as fast as ever when nobody else has anything to say;
but between two looks at the other peers no more of it is taken than a share. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = [
    "ALONE_S",
    "ALONE_SHARE",
    "DEAR_BYTES",
    "DEBTOR_SHARE",
    "SHARE",
    "Attention",
    "Shares",
    "cost",
]

SHARE: Final = 2
"""Messages of one peer in a turn, while others speak, too. At a worker's own socket each of them is
a call, as a rule, that is carried out before the next one is looked at. With 16 the p99 of a polite
client beside calls without end was 5.7 times that beside neighbours as busy, with 4 it was 3.2
times, with 2 it is 2.7 times."""
ALONE_SHARE: Final = 16
"""Where nobody else has said anything for ``ALONE_S``: fewer looks at others."""
ALONE_S: Final = 0.05
"""Longer than somebody who calls again and again pauses in between."""
DEAR_BYTES: Final = 2_048
"""So many bytes of a header count as a message more: the longest ones take a thousand times as long
to read as a usual one."""
DEBTOR_SHARE: Final = 2
"""Of somebody in debt (see ``debts``), whoever else speaks."""


def cost(header_bytes: int) -> int:
    """What a message counts, by the length of its header."""
    return 1 + header_bytes // DEAR_BYTES


class Attention:
    """How much of who speaks is taken in a row: little, unless nobody else has for a while."""

    __slots__ = ("_alone_from", "_clock", "_last")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: Hashable = None
        self._alone_from = 0.0

    def share(self, peer: Hashable, *, in_debt: bool = False) -> int:
        """Of that peer, by whom something has come now."""
        now = self._clock()
        if peer != self._last:
            self._last = peer
            self._alone_from = now + ALONE_S
        if in_debt:
            return DEBTOR_SHARE
        return SHARE if now < self._alone_from else ALONE_SHARE


class Shares:
    """What each peer has had of one turn."""

    __slots__ = ("_attention", "_had")

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        self._had: dict[Hashable, int] = {}

    def take(self, peer: Hashable, header_bytes: int, *, in_debt: bool = False) -> bool:
        """A message of that peer was taken; whether it has now had its share."""
        had = self._had[peer] = self._had.get(peer, 0) + cost(header_bytes)
        return had >= self._attention.share(peer, in_debt=in_debt)
