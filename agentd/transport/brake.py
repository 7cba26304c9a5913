"""Clients over TCP that send too much are held up by the kernel: libzmq reads whatever comes.

The kernel drops what such a client sends, so that its own sends it again after 0.2, 0.4, 0.8 s, as
any segment that was lost (RFC 6298). That takes nothing of this host's time, and the client waits.
Nothing is lost, what goes to the client goes on its way, and that it has gone is told at once.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from agentd.transport.connections import QUIET_S, Connection, Connections
from agentd.transport.loop import Loop
from agentd.transport.origin import Address

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["HOLD_S", "Brake"]

log = logging.getLogger("agentd.transport")

HOLD_S: Final = 1.0
"""By then most of a debt is paid back. By TCP's timer a client goes on up to half a second later;
one of ours gives a connection up after 3 s of silence."""


class Brake:
    """In the loop's thread."""

    def __init__(self, loop: Loop, connections: Connections) -> None:
        self._loop = loop
        self._connections = connections
        self._held: set[Address] = set()
        self._told_at = -QUIET_S
        self.held_up = 0
        """How often somebody was."""

    def follow(self, number: int, front: FrontPort) -> None:
        """Hold up who owes (see ``debts``) at that socket, which is the ``number``-th."""
        front.on_debt = partial(self._owes, number)

    def _owes(self, number: int, route: bytes, _size: int) -> None:
        if (number, route) in self._held:
            return
        connection = self._connections.find(number, route)
        if connection is not None:
            why = "it makes much work that helps nobody: refused calls, pings"
            self.hold(connection, why, HOLD_S)

    def hold(self, connection: Connection, why: str, seconds: float) -> bool:
        """Hold it up for so long, unless it is; whether it is held up now."""
        address = _address(connection)
        if address in self._held:
            return True
        if not self._connections.deafen(connection, deaf=True):
            return False
        self.held_up += 1
        self._held.add(address)
        self._loop.later(seconds, partial(self._release, connection, address))
        now = self._loop.clock()
        if now - self._told_at >= QUIET_S:
            self._told_at = now
            who = connection.peer or self._connections.who(connection)
            log.warning(
                "%s is held up for a while: %s",
                who,
                why,
                extra={"action": "held_up", "peer": who},
            )
        return True

    def _release(self, connection: Connection, address: Address) -> None:
        self._held.discard(address)
        self._connections.deafen(connection, deaf=False)


def _address(connection: Connection) -> Address:
    """Of one that has said nothing yet: its descriptor."""
    return connection.front, connection.route or b"fd %d" % connection.fd
