"""The daemon's memory: when there is too much, the client at fault is disconnected.

The last line: what is in flight is counted (``protocol/budgets.py``), and so is what waits for
clients (``delivery.py``), but parts of a message that is not finished are kept by libzmq, without
bound and unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from agentd.transport.connections import Connection, Connections
from agentd.transport.loop import Loop
from agentd.transport.process import give_memory_back, resident_bytes

__all__ = ["Watchdog"]

log = logging.getLogger("agentd.server")

USUAL_S: Final = 0.5
ALERT_S: Final = 0.1
ALERT: Final = 0.5
"""The share of the limit from which on it is watched who sends."""
OVER_S: Final = 0.02
SEEN: Final = 3
"""How often a client has to be seen sending, with no message finished in between, to be at fault:
anybody's message is seen half on its way once in a while."""
REST_S: Final = 1.0
"""After a client was disconnected: its memory comes back a moment later."""
QUIET_S: Final = 10.0


class Watchdog:
    """Looks at the memory of this process from time to time."""

    def __init__(
        self,
        loop: Loop,
        connections: Connections,
        limit: int,
        memory: Callable[[], int] = resident_bytes,
        give_back: Callable[[], None] = give_memory_back,
    ) -> None:
        """``limit``: bytes; 0: nothing is watched."""
        self._loop = loop
        self._connections = connections
        self._limit = limit
        self._memory = memory
        self._give_back = give_back
        self._told_at: float | None = None
        self.disconnected = 0
        """Clients that were disconnected for it."""
        if limit:
            loop.later(USUAL_S, self._look)

    def _look(self) -> None:
        used = self._memory()
        wait = USUAL_S
        if used > ALERT * self._limit:
            wait = ALERT_S
            for connection in self._connections:
                self._connections.look(connection)
        if used > self._limit:
            wait = self._act(used)
        self._loop.later(wait, self._look)

    def _act(self, used: int) -> float:
        self._give_back()  # what is free already need not cost anybody his connection
        if self._memory() <= self._limit:
            return OVER_S
        culprit = self._culprit()
        if culprit is None:
            self._tell(used)
            return OVER_S
        who = self._connections.who(culprit)
        if self._connections.end(culprit):
            self.disconnected += 1
            log.warning(
                "%s was disconnected: it sends without finishing a message, and the daemon has "
                "%d MiB of memory (max_memory_bytes: %d MiB)",
                who,
                used >> 20,
                self._limit >> 20,
                extra={"action": "disconnected_memory", "peer": who, "memory": used},
            )
        return REST_S

    def _culprit(self) -> Connection | None:
        """Who has sent most that was no message; nobody, if none is seen to do so."""
        worst: tuple[int, int] = (0, 0)
        found = None
        for connection in self._connections:
            score = (connection.unfinished, connection.pressure)
            if connection.pressure >= SEEN and score > worst:
                worst, found = score, connection
        return found

    def _tell(self, used: int) -> None:
        now = self._loop.clock()
        if self._told_at is None or now - self._told_at >= QUIET_S:
            self._told_at = now
            log.error(
                "the daemon has %d MiB of memory (max_memory_bytes: %d MiB), and no client is seen "
                "to be at fault",
                used >> 20,
                self._limit >> 20,
                extra={"action": "memory_high", "memory": used},
            )
