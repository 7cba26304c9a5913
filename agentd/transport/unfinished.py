"""Peers over TCP that send and send, and finish no message: they are disconnected.

ZeroMQ keeps the parts of a message until it is whole, unseen and without bound. A daemon looks at
its memory as a whole for that (``server/watchdog.py``). That of a worker is its agents', and tells
nothing: so what has come by each connection is compared with what of it was taken as messages.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from agentd.transport.connections import Connection, Connections
from agentd.transport.loop import Loop
from agentd.transport.process import give_memory_back
from agentd.transport.rounds import Rounds

__all__ = ["Unfinished"]

log = logging.getLogger("agentd.transport")

SMALL: Final = 64 * 1024
"""So little beside messages that were taken is none: ZeroMQ's own heartbeats, and the handshake."""
BEATS: Final = 128
"""Bytes that those may be in a second while no message comes."""
LOOK_S: Final = 0.5
"""Between two rounds of looks."""
SHARE: Final = 20
"""And at least so many times as long as the last one took."""
LATE_S: Final = 1.0
"""When memory that was let go is given back: libzmq's thread has to find it of no use first."""


@dataclass(slots=True)
class _Seen:
    """A connection when it was looked at."""

    received: int = 0
    taken: int = 0
    messages: int = 0
    waiting: float = 0.0
    """Bytes of what is no message yet, or was not taken."""


class Unfinished:
    """Looks at all connections. In the loop's thread only."""

    def __init__(self, loop: Loop, connections: Connections, most: int, most_together: int) -> None:
        """``most``: bytes that may have come by one and not be messages that were taken.

        ``most_together``: by all of them.
        """
        self._loop = loop
        self._connections = connections
        self._most = most
        self._most_together = most_together
        self._before: dict[Connection, _Seen] = {}
        self._seen: dict[Connection, _Seen] = {}
        self._since = loop.clock()
        """When the last round ended."""
        self._elapsed = 0.0
        """How long that one took, and the wait before it."""
        self.disconnected = 0
        """Peers that had sent more."""
        Rounds(loop, connections, self._look_at, self._judge, SHARE).begin()

    def _look_at(self, connection: Connection) -> None:
        seen = self._seen[connection] = self._before.get(connection) or _Seen()
        received, taken = self._connections.received(connection), connection.bytes
        seen.waiting += received - seen.received - (taken - seen.taken)
        if connection.messages == seen.messages:
            seen.waiting -= BEATS * self._elapsed
        elif seen.waiting < SMALL:
            seen.waiting = 0.0
        seen.waiting = max(0.0, seen.waiting)
        seen.received, seen.taken, seen.messages = received, taken, connection.messages

    def _judge(self) -> float:
        """Disconnect who has sent too much; and, if it is too much in all, who has sent most."""
        self._before, self._seen = self._seen, {}
        now = self._loop.clock()
        self._elapsed, self._since = now - self._since, now
        known = self.disconnected
        waiting = {connection: seen.waiting for connection, seen in self._before.items()}
        total = sum(waiting.values())
        if total > min(self._most, self._most_together):
            for connection in sorted(waiting, key=waiting.__getitem__, reverse=True):
                size = waiting[connection]
                if size <= self._most and total <= self._most_together:
                    break
                total -= size
                self._end(connection, int(size))
        if self.disconnected > known:
            self._loop.later(LATE_S, give_memory_back)
        return LOOK_S

    def _end(self, connection: Connection, size: int) -> None:
        who = self._connections.who(connection)
        if self._connections.end(connection):
            self.disconnected += 1
            log.warning(
                "%s was disconnected: of what it sent %d MiB are no message yet",
                who,
                size >> 20,
                extra={"action": "disconnected_unfinished", "peer": who, "waiting": size},
            )
