"""Silence and lateness: when a peer counts as gone, and when what arrives counts as given up.

Whoever waits for a peer pings it, and gives up when a ping has had no answer for ``patience``
seconds; so what arrives older than that may have nobody who waits for it any more, and is not
carried out. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["QUIET_BEATS", "Lateness", "patience"]

QUIET_BEATS: Final = 0.5
"""Heartbeats of quiet after which somebody who waits sends a ping."""
PATIENCE_BEATS: Final = 1.75
"""Heartbeats a ping may be without an answer. With the quiet before it, and the time it takes to
notice and to ask the daemon about a worker, that is within three heartbeats of one second."""
MIN_PATIENCE_S: Final = 1.75
"""Not less, however fast the heart beats: a busy machine stops a process for longer than that
rarely."""
MARGIN: Final = 0.95
"""Who receives is a bit stricter than who waits: their clocks may differ by milliseconds."""


def patience(heartbeat_s: float) -> float:
    """Seconds that a ping may be without an answer."""
    return max(MIN_PATIENCE_S, PATIENCE_BEATS * heartbeat_s)


class Lateness:
    """What one receiver thinks of the times at which messages were sent, by its own clock."""

    def __init__(
        self, heartbeat_s: float, excused: Callable[[float], bool] = lambda _age: False
    ) -> None:
        """``excused(age)``: it is our own fault, and of a kind for which senders wait."""
        self._excused = excused
        self._limit = MARGIN * patience(heartbeat_s)
        self._doubted: dict[Hashable, float] = {}

    def is_timely(self, at: float, now: float) -> bool:
        """Whether what was sent ``at`` that time is not late, whoever sent it; 0 is never late."""
        return not at or (not self._doubted and now - at <= self._limit)

    def is_late(self, who: Hashable, at: float, now: float) -> bool:
        """Whether the sender may have given up what it sent at ``at``.

        Once something late has come from ``who``, all that it sent before now is in doubt: it gives
        up a connection as a whole.
        """
        if self.is_timely(at, now):
            return False
        if now - at > self._limit and not self._excused(now - at):
            self._doubted[who] = now
            return True
        doubted = self._doubted.get(who)
        if doubted is None:
            return False
        if at <= doubted:
            return True
        del self._doubted[who]
        return False
