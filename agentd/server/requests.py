"""What clients ask of the daemon itself: agents made and found, what became of them, code, data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentd.errors import AgentdError, ProtocolError
from agentd.protocol import error_message
from agentd.protocol.messages import (
    Accepted,
    Answer,
    Ask,
    Create,
    Fate,
    Locate,
    Offer,
    Ready,
    Supply,
    Vouch,
    Vouched,
    Wanted,
)
from agentd.server.answers import Answers
from agentd.server.directory import Agent
from agentd.server.gate import Gate
from agentd.server.hosting import Hosting
from agentd.server.sessions import Session, Sessions
from agentd.server.trail import Trail
from agentd.server.vigil import Vigil
from agentd.transport.origin import Address

__all__ = ["Asked", "Requests"]

Asked = Callable[[str, dict[str, Any], Callable[[bytes], None], Callable[[Agent], bool]], None]
"""Administration: ``(what, params, answer, sees)``; raises ``AgentdError``."""


class Requests:
    """One method per kind of question; its answer may come later, and nothing here waits."""

    def __init__(
        self,
        hosting: Hosting,
        sessions: Sessions,
        answers: Answers,
        gate: Gate,
        trail: Trail,
        vigil: Vigil,
        asked: Asked,
        told: Callable[[Address, Ready], Ready],
    ) -> None:
        """``told``: where an agent is, as the client at that address is told it."""
        self._hosting = hosting
        self._sessions = sessions
        self._answers = answers
        self._gate = gate
        self._trail = trail
        self._vigil = vigil
        self._asked = asked
        self._told = told

    def create(
        self, address: Address, session: Session, message: Create, payload: list[Any]
    ) -> None:
        """Make an agent; answered when it is ready, and before if that is wanted."""
        if self._hosting.directory.is_known(message.agent, session.id):
            # It came before: the connection broke, and the client asks again.
            agent, existing = message.agent, False
        else:
            self._trail.creates(session.who, message)
            created, existing = self._hosting.create(message, payload, session.id, session.who)
            agent = created.id
        if message.ack:
            self._answers.give(address, Accepted(message.id, agent, existing))
        settler = self._settler(address, session.who, message.id, brief=message.brief)
        self._hosting.when_settled(agent, settler)

    def ask(self, address: Address, session: Session, message: Ask) -> None:
        """Administration."""
        number = message.id
        self._trail.asks(session.who, message)
        self._asked(
            message.what,
            message.params,
            lambda data: self._answers.give(address, Answer(number), [data]),
            self._gate.sees(session.who),
        )

    def take_code(
        self, address: Address, session: Session, message: Offer | Supply, payload: list[Any]
    ) -> None:
        """Code that agents need; the answer tells which files are still wanted."""
        store, code = self._hosting.store, message.code
        if len(payload) != 1:
            raise ProtocolError(f"{message.kind!r} has one frame of payload")
        if isinstance(message, Offer):
            self._trail.offers(session.who, code)
            here = self._sessions.is_here(session)
            wanted = store.offer(address, code, payload[0], local=here)
        else:
            store.supply(code, message.file, payload[0])
            wanted = store.wanted(address, code)
        self._answers.give(address, Wanted(message.id, wanted))

    def locate(self, address: Address, who: str, message: Locate) -> None:
        """Where an agent is; answered when it is ready."""
        if message.agent is not None:
            agent = message.agent
        elif message.name is not None:
            agent = self._hosting.directory.find(message.name).id
        else:
            raise ProtocolError("locate needs an agent or a name")
        self._hosting.when_settled(agent, self._settler(address, who, message.id))

    def _settler(
        self, address: Address, who: str, number: int, *, brief: bool = False
    ) -> Callable[[Ready | AgentdError, list[Any]], None]:
        def settled(outcome: Ready | AgentdError, payload: list[Any]) -> None:
            if isinstance(outcome, AgentdError):
                codec = outcome.facts.get("codec", "")
                if codec != "data" and not self._gate.takes_code(who):
                    codec, payload = "", []  # the facts tell what it was
                told = self._gate.tells(who, outcome)
                self._answers.give(address, error_message(number, told, codec), payload)
            else:
                about = {} if brief else outcome.about
                ready = outcome.changed(id=number, about=about)
                self._trail.reaches(who, ready.agent, ready.name, ready.cls)
                self._answers.give(address, self._told(address, ready))

        return settled

    def fate(self, address: Address, who: str, message: Fate) -> None:
        """What became of an agent as it was at some time; answered when that is known."""
        number = message.id
        self._hosting.when_fate_known(
            message.agent,
            message.epoch,
            lambda fate: self._answers.give(
                address, error_message(number, self._gate.tells(who, fate))
            ),
        )

    def vouch(self, address: Address, message: Vouch) -> None:
        """Whether a worker is well."""
        self._vigil.vouch(message.worker, self._voucher(address, message.id))

    def _voucher(self, address: Address, number: int) -> Callable[[str | AgentdError], None]:
        def tell(verdict: str | AgentdError) -> None:
            if isinstance(verdict, AgentdError):
                self._answers.give(address, error_message(number, verdict))
            else:
                self._answers.give(address, Vouched(number, verdict))

        return tell
