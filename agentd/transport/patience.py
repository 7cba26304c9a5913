"""Clients within the host cannot be held up by the kernel: patience with them has an end.

Who makes work that helps nobody is served slowly (see ``debts``). But others are found among its
messages only, which are read for that; long ones take much of a processor and of memory's speed,
however few are served. So who goes on to send them is disconnected, and not listened to for a
while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from agentd.transport.connections import Connections
from agentd.transport.loop import Loop
from agentd.transport.origin import Address

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["MOST", "PAUSE_S", "Patience"]

log = logging.getLogger("agentd.transport")

MOST: Final = 256 * 1024 * 1024
"""Bytes of messages that helped nobody, of somebody who was in debt already: some hundred of a MiB.
Within the host 8 MiB come in 4 ms."""
PAUSE_S: Final = 1.0
"""Who sent none for so long begins anew."""
CROWD: Final = 1_000
"""With more of them than that, those that have paused are looked for."""


class Patience:
    """In the loop's thread."""

    def __init__(
        self, loop: Loop, connections: Connections, shut_out: Callable[[str], float]
    ) -> None:
        """``shut_out``: not to listen to a peer for a while, seconds."""
        self._loop = loop
        self._connections = connections
        self._shut_out = shut_out
        self._sent: dict[Address, tuple[int, float]] = {}
        """How many bytes each had sent, and when it last did."""
        self.disconnected = 0
        """Clients that went on."""

    def follow(self, number: int, front: FrontPort) -> None:
        """Watch who owes at that socket, which is the ``number``-th."""
        front.on_debt = partial(self._owes, number)

    def _owes(self, number: int, route: bytes, size: int) -> None:
        address, now = (number, route), self._loop.clock()
        if len(self._sent) > CROWD:
            self._sent = {a: s for a, s in self._sent.items() if now - s[1] < PAUSE_S}
        sent, last = self._sent.get(address, (0, now))
        sent = size + (sent if now - last < PAUSE_S else 0)
        self._sent[address] = (sent, now)
        if sent > MOST:
            del self._sent[address]
            self._end(address, sent)

    def _end(self, address: Address, size: int) -> None:
        connection = self._connections.find(*address)
        if connection is None or not self._connections.end(connection):
            return
        self.disconnected += 1
        seconds = self._shut_out(connection.peer)
        log.warning(
            "%s was disconnected: it sent %d MiB that help nobody, one after the other (refused "
            "calls, pings); nothing of it is read for %g s",
            connection.peer,
            size >> 20,
            seconds,
            extra={"action": "disconnected_in_debt", "peer": connection.peer, "size": size},
        )
