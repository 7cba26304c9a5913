"""Peers that send what is no message: how often, and who is not listened to for a while.

A message that cannot be read costs more than one that can, and no program sends it by accident
again and again. So whoever does is disconnected after a number of them, and what comes from it by
new connections is not looked at for a time that doubles with each relapse. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["Faults"]

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
REMEMBERED: Final = 1_000
"""Peers; those that have been quiet for longest are forgotten first."""


@dataclass(slots=True)
class _Record:
    faults: int = 0
    times: int = 0
    """How often it was shut out."""
    until: float = 0.0


class Faults:
    """Who sent how much of that. A peer is a key and an address, or a user and a process."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        """``most``: so many are forgiven; 0: all."""
        self._most = most
        self._clock = clock
        self._peers: OrderedDict[Hashable, _Record] = OrderedDict()

    def is_shut_out(self, peer: Hashable) -> bool:
        """Whether nothing of it is to be looked at now."""
        return bool(self._peers) and self.left(peer) > 0.0

    def left(self, peer: Hashable) -> float:
        """For how many seconds more; from any thread."""
        record = self._peers.get(peer)
        return 0.0 if record is None else max(0.0, record.until - self._clock())

    def add(self, peer: Hashable, count: int = 1) -> float:
        """One more; for how many seconds the peer is shut out from now on, mostly 0.

        ``count``: a long one is as dear as so many (see ``shares.cost``); but it takes three, so
        that somebody who made a mistake reads what it was.
        """
        if not self._most:
            return 0.0
        record = self._record(peer)
        record.faults += min(count, max(1, self._most // 3))
        return 0.0 if record.faults < self._most else self._shut_out(record)

    def shut_out(self, peer: Hashable) -> float:
        """What it did is not forgiven once; for how many seconds it is shut out from now on."""
        return self._shut_out(self._record(peer))

    def _record(self, peer: Hashable) -> _Record:
        record = self._peers.setdefault(peer, _Record())
        self._peers.move_to_end(peer)
        if len(self._peers) > REMEMBERED:
            self._peers.popitem(last=False)
        return record

    def _shut_out(self, record: _Record) -> float:
        seconds = float(min(LONGEST_S, FIRST_S * 2**record.times))
        record.faults = 0
        record.times = min(record.times + 1, 10)
        record.until = self._clock() + seconds
        return seconds
