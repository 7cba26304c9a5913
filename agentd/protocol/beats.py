"""Heartbeats that are due: they are no work that helps nobody, however many connections beat."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from agentd.protocol.lateness import QUIET_BEATS

__all__ = ["Beats"]


class Beats:
    """One ping of each connection in each half heartbeat, as the protocol has it. Pure."""

    def __init__(self, heartbeat_s: float, clock: Callable[[], float]) -> None:
        self._every = QUIET_BEATS * heartbeat_s
        self._clock = clock
        self._came: set[Hashable] = set()
        self._until = clock()

    def is_due(self, connection: Hashable) -> bool:
        """Whether a ping that comes now is one that the protocol asks for; it comes."""
        now = self._clock()
        if now >= self._until:
            self._until = now + self._every
            self._came.clear()
        due = connection not in self._came
        self._came.add(connection)
        return due
