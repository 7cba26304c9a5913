"""Clients that go, or have to: good-bye, a lease that ran out, a grant that is gone."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Final

from agentd.errors import AuthenticationFailed
from agentd.protocol import error_message
from agentd.protocol.budgets import Budgets
from agentd.server.answers import Answers
from agentd.server.hosting import Hosting
from agentd.server.sessions import Connection, Session, Sessions
from agentd.server.trail import Trail
from agentd.transport.loop import Loop
from agentd.transport.origin import Address, Origin, disconnect

__all__ = ["Departures"]

log = logging.getLogger("agentd.server")

KICK_S: Final = 0.2
"""How long a peer that is to be disconnected has to read why."""


class Departures:
    """Ends sessions, and the connections of who is not welcome (any more)."""

    def __init__(
        self,
        loop: Loop,
        sessions: Sessions,
        hosting: Hosting,
        answers: Answers,
        budgets: Budgets,
        trail: Trail,
    ) -> None:
        self._loop = loop
        self._sessions = sessions
        self._hosting = hosting
        self._answers = answers
        self._budgets = budgets
        self._trail = trail
        self._turned_away: set[Address] = set()
        """Those that are being disconnected."""

    def expire(self, session: Session) -> None:
        """Its lease ran out.

        Its client may only have stood still, and its connections may hold: they are ended, so that
        it sees at once that it has to introduce itself again.
        """
        connections = list(session.connections.values())
        self.end_session(session, "its client is gone")
        for connection in connections:
            disconnect(*connection)

    def end_session(self, session: Session, reason: str) -> None:
        """Its agents with ``lifetime="client"`` end."""
        self._sessions.close(session)
        self._budgets.give_all(session.id)
        for agent in self._hosting.directory.owned_by(session.id):
            self._hosting.delete(agent, reason)

    def turn_away(self, address: Address, origin: Origin) -> None:
        """Tell a peer that has no grant (any more), and end its connection."""
        if not self._turned_away:
            log.warning(
                "turned away %s",
                origin.who or "somebody unknown",
                extra={"action": "turned_away", "who": origin.who},
            )
        if address not in self._turned_away:
            self._turned_away.add(address)
            self._trail.turned_away(origin.who)
            self._say_no(address, origin.who)
            connection = origin.fd, origin.mark
            self._loop.later(KICK_S, partial(self._kick, address, connection))

    def _say_no(self, address: Address, who: str) -> None:
        refusal = AuthenticationFailed(
            f"this daemon has no grant for {who or 'you'} (any more); its user can give one with: "
            "agentctl keys add",
            who=who,
        )
        self._answers.give(address, error_message(0, refusal))

    def _kick(self, address: Address, connection: Connection) -> None:
        self._turned_away.discard(address)
        disconnect(*connection)

    def evict(self, whos: Collection[str]) -> None:
        """Their grants are gone: tell them, end their sessions and their connections."""
        for session in self._sessions.of(whos):
            connections = dict(session.connections)
            log.info(
                "disconnecting %s, its grant is gone",
                session.who,
                extra={"action": "evicted", "who": session.who},
            )
            self._trail.evicted(session.who)
            self.end_session(session, "its client's grant is gone")
            for address, connection in connections.items():
                self._say_no(address, session.who)
                self._loop.later(KICK_S, partial(self._kick, address, connection))
