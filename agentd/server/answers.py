"""Answers to clients: sent, counted against what they may have open, and not without bound."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentd.errors import ProtocolError
from agentd.protocol import error_message, pack
from agentd.protocol.budgets import Budgets
from agentd.protocol.delivery import FIRST_MARK, Delivery
from agentd.protocol.messages import Message, Ping
from agentd.protocol.sizes import size_of
from agentd.server.sessions import Sessions
from agentd.transport.connections import Connection, Connections
from agentd.transport.localfront import LocalFront
from agentd.transport.loop import Loop
from agentd.transport.origin import Address, disconnect
from agentd.transport.unreachable import Unreachable

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["Answers"]

log = logging.getLogger("agentd.server")

_NO_ANSWERS = ("accepted", "pong", "welcome")
"""Of these a question may have others after them, or they answer none that is counted."""


class Answers:
    """Those of the front sockets; nothing here waits."""

    def __init__(
        self,
        loop: Loop,
        fronts: Sequence[FrontPort | LocalFront],
        sessions: Sessions,
        connections: Connections,
        budgets: Budgets,
        most_queued: int,
    ) -> None:
        """``most_queued``: bytes that may wait for one client that does not read."""
        self._loop = loop
        self._fronts = fronts
        self._sessions = sessions
        self._connections = connections
        self._budgets = budgets
        self._most_queued = most_queued
        self.delivery = Delivery(most_queued)
        self.undelivered = 0
        """Answers to clients that had gone away."""
        self.disconnected_unread = 0
        """Clients that did not read what they had asked for."""
        connections.on_lost = self._connection_lost

    def give(self, address: Address, message: Message, payload: list[Any] | None = None) -> None:
        """Answer a question, which is not counted any more; or tell what was not asked for."""
        if message.kind not in _NO_ANSWERS:
            self._budgets.give((address, getattr(message, "id", 0)))
        try:
            frames = pack(message, payload or ())
        except ProtocolError as error:  # a class of thousands of methods, say
            frames = pack(error_message(getattr(message, "id", 0), error))
        self.send(address, frames)

    def send(self, address: Address, frames: list[Any]) -> bool:
        """Send what is packed; False if it has gone away, or is given up as it does not read."""
        if self.delivery.is_behind(address):
            self._give_up(address)
            return False
        if not self._sent(address, frames):
            return False
        mark = self.delivery.sent(address, size_of(frames))
        if mark:
            self._sent(address, pack(Ping(mark)))
        return True

    def _sent(self, address: Address, frames: list[Any]) -> bool:
        front, route = address
        try:
            port = self._fronts[front]
            if isinstance(port, LocalFront):
                self._loop.send_soon(port, [route, *frames])
            else:
                self._loop.send(port, [route, *frames])
        except Unreachable:
            self.undelivered += 1
            connection = self._sessions.connection(address)
            if connection is not None:
                # Gone already; or it does not read, so that what is meant for it would pile up.
                disconnect(*connection)
            log.debug("an answer found its client gone")
            return False
        return True

    def _give_up(self, address: Address) -> None:
        """Disconnect a client that does not read: libzmq would keep all of it."""
        self.undelivered += 1
        connection = self._connections.find(*address)
        waiting = self.delivery.waiting(address)
        if connection is None:
            return
        who = self._connections.who(connection)
        if self._connections.end(connection):
            self.disconnected_unread += 1
            self.delivery.forget(address)
            log.warning(
                "%s was disconnected: it does not read its answers, and %d MiB wait for it "
                "(max_queued_bytes: %d MiB)",
                who,
                waiting >> 20,
                self._most_queued >> 20,
                extra={"action": "disconnected_unread", "peer": who, "waiting": waiting},
            )

    def ask_for_life(self, connection: Connection) -> None:
        """Send a ping, which any client answers that is not in the middle of a message."""
        if connection.route:
            self._sent((connection.front, connection.route), pack(Ping(FIRST_MARK)))

    def _connection_lost(self, connection: Connection) -> None:
        self.delivery.forget((connection.front, connection.route))
        self._fronts[connection.front].forget(connection.route)
