"""Peers over TCP that send and send, and finish no message: they are disconnected.

ZeroMQ keeps the parts of a message until it is whole, unseen and without bound. A daemon looks at
its memory as a whole for that (``server/watchdog.py``). That of a worker is its agents', and tells
nothing: so it is looked how much has come by each connection since it last finished a message.
"""

from __future__ import annotations

import logging

from agentd.transport.connections import Connection, Connections

__all__ = ["Unfinished"]

log = logging.getLogger("agentd.transport")


class Unfinished:
    """Looks at all connections. In the loop's thread only."""

    def __init__(self, connections: Connections, most: int, most_together: int) -> None:
        """``most``: bytes of a message that is under way; ``most_together``: of all of them."""
        self._connections = connections
        self._most = most + most // 8  # as it is sealed, part by part
        self._most_together = most_together
        self.disconnected = 0
        """Peers that had sent more."""

    def look(self) -> bool:
        """Disconnect who has sent too much; and, if it is too much in all, who has sent most.

        Whether there was somebody.
        """
        before = self.disconnected
        waiting: dict[Connection, int] = {}
        for connection in self._connections:
            self._connections.look(connection)
            if connection.unfinished > self._most:
                self._end(connection)
            else:
                waiting[connection] = connection.unfinished
        total = sum(waiting.values())
        while total > self._most_together:
            worst = max(waiting, key=waiting.__getitem__)
            total -= waiting.pop(worst)
            self._end(worst)
        return self.disconnected > before

    def _end(self, connection: Connection) -> None:
        who = self._connections.who(connection)
        if self._connections.end(connection):
            self.disconnected += 1
            log.warning(
                "%s was disconnected: it sent %d MiB without finishing a message",
                who,
                connection.unfinished >> 20,
                extra={"action": "disconnected_unfinished", "peer": who},
            )
