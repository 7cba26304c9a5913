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
SUSPECT_S: Final = 1.0
"""So long there is too much with nobody seen sending; then all are asked for a sign of life."""
ANSWER_S: Final = 2.0
"""And so long they have for it. Who is in the middle of a message cannot give one. A client that is
idle does not, either; it connects again when it has something to say."""


class Watchdog:
    """Looks at the memory of this process from time to time."""

    def __init__(
        self,
        loop: Loop,
        connections: Connections,
        limit: int,
        ask: Callable[[Connection], None] = lambda _connection: None,
        memory: Callable[[], int] = resident_bytes,
        give_back: Callable[[], None] = give_memory_back,
    ) -> None:
        """``limit``: bytes; 0: nothing is watched. ``ask`` sends a client a ping."""
        self._loop = loop
        self._connections = connections
        self._limit = limit
        self._ask = ask
        self._memory = memory
        self._give_back = give_back
        self._told_at: float | None = None
        self._over_since: float | None = None
        self._asked: dict[Connection, int] = {}
        self.disconnected = 0
        """Clients that were disconnected for it."""
        if limit:
            memory()  # now it gets the descriptor that it needs; later there may be none
            loop.later(USUAL_S, self._look)

    def _look(self) -> None:
        wait = USUAL_S
        try:
            wait = self._watch()
        finally:  # a look that fails must not be the last one
            self._loop.later(wait, self._look)

    def _watch(self) -> float:
        """Look, and act if need be; seconds until the next look."""
        used = self._memory()
        wait = USUAL_S
        if used > ALERT * self._limit:
            wait = ALERT_S
            for connection in self._connections:
                self._connections.look(connection)
        if used > self._limit:
            wait = self._act(used)
        else:
            self._over_since = None
            self._asked.clear()
        return wait

    def _act(self, used: int) -> float:
        self._give_back()  # what is free already need not cost anybody his connection
        if self._memory() <= self._limit:
            return OVER_S
        culprit = self._culprit()
        if culprit is not None:
            self._disconnect(culprit, used, "it sends without finishing a message")
            return REST_S
        return self._suspect(used)

    def _disconnect(self, connection: Connection, used: int, why: str) -> None:
        self._over_since = None
        self._asked.clear()
        who = self._connections.who(connection)
        if self._connections.end(connection):
            self.disconnected += 1
            log.warning(
                "%s was disconnected: %s, and the daemon has %d MiB of memory (max_memory_bytes: "
                "%d MiB)",
                who,
                why,
                used >> 20,
                self._limit >> 20,
                extra={"action": "disconnected_memory", "peer": who, "memory": used},
            )

    def _suspect(self, used: int) -> float:
        """Nobody is seen to be at fault: whoever it is may have stopped in the middle."""
        now = self._loop.clock()
        if self._over_since is None:
            self._over_since = now
        over = now - self._over_since
        if over < SUSPECT_S:
            return OVER_S
        if not self._asked:
            self._tell(used)
            for connection in self._connections:
                self._asked[connection] = connection.messages
                self._ask(connection)
            return OVER_S
        if over < SUSPECT_S + ANSWER_S:
            return OVER_S
        silent = [c for c in self._connections if self._asked.get(c) == c.messages]
        suspects = [c for c in silent if c.pressure] or silent
        for connection in suspects:
            self._disconnect(connection, used, "it gives no sign of life")
        self._over_since = None
        self._asked.clear()
        return REST_S

    def _culprit(self) -> Connection | None:
        """Who has sent most that was no message; nobody, if none is seen to do so."""
        worst: tuple[int, int] = (0, 0)
        found = None
        for connection in self._connections:
            score = (connection.unfinished, connection.pressure)
            if (connection.overlong or connection.pressure >= SEEN) and score > worst:
                worst, found = score, connection
        return found

    def _tell(self, used: int) -> None:
        now = self._loop.clock()
        if self._told_at is None or now - self._told_at >= QUIET_S:
            self._told_at = now
            log.error(
                "the daemon has %d MiB of memory (max_memory_bytes: %d MiB), and no client is seen "
                "to be at fault; all are asked for a sign of life",
                used >> 20,
                self._limit >> 20,
                extra={"action": "memory_high", "memory": used},
            )
