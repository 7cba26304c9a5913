"""Calls that the daemon carries to workers, sealed, and their answers back."""

from __future__ import annotations

from typing import Any

from agentd.errors import AgentdError, AgentNotFound, Draining
from agentd.ids import show
from agentd.protocol import error_message, pack
from agentd.protocol.budgets import Budgets
from agentd.protocol.messages import (
    Attach,
    Call,
    Cancel,
    Credit,
    Detach,
    Fetch,
    Keep,
    Message,
    Read,
    Release,
)
from agentd.server.answers import Answers
from agentd.server.gate import Gate
from agentd.server.hosting import Hosting
from agentd.server.lifecycle import State
from agentd.server.sessions import Sessions
from agentd.server.supervisor import Supervisor
from agentd.server.trail import Trail
from agentd.server.vigil import Vigil
from agentd.server.workers import Worker
from agentd.transport.loop import Loop
from agentd.transport.origin import Address

__all__ = ["Relay"]


class Relay:
    """Knows which calls are open at which worker; nothing here waits."""

    def __init__(
        self,
        loop: Loop,
        heartbeat_s: float,
        hosting: Hosting,
        supervisor: Supervisor,
        sessions: Sessions,
        answers: Answers,
        budgets: Budgets,
        gate: Gate,
        trail: Trail,
    ) -> None:
        self._hosting = hosting
        self._supervisor = supervisor
        self._sessions = sessions
        self._answers = answers
        self._budgets = budgets
        self._gate = gate
        self._trail = trail
        self._open: dict[str, dict[tuple[bytes, int], Call | Fetch | Read | Attach]] = {}
        """By worker, route and number."""
        self.vigil = Vigil(
            loop,
            supervisor,
            heartbeat_s,
            lambda worker: bool(self._open.get(worker.id)),
            self._worker_silent,
        )

    def call(
        self,
        address: Address,
        who: str,
        call: Call | Fetch | Read | Attach,
        payload: list[Any],
    ) -> None:
        """Carry it to its agent's worker; raises if that is not where it was when it was asked."""
        agent = self._hosting.directory.get(call.agent)
        if self._hosting.draining:
            raise Draining("the daemon is stopping and takes no new calls", agent=show(call.agent))
        if agent.state is not State.READY or agent.epoch != call.epoch:
            raise AgentNotFound(
                f"agent {agent.label} is not at epoch {call.epoch} any more", moved=True
            )
        self._trail.reaches(who, agent.id, agent.spec.name, agent.spec.cls)
        worker = self._supervisor.workers[agent.worker]
        route = bytes([address[0]]) + address[1]
        self._open.setdefault(worker.id, {})[route, call.id] = call
        self._supervisor.relay(worker, route, pack(call, _unchanged(payload)))
        self.vigil.look_after()

    def note(self, address: Address, message: Cancel | Keep | Release | Credit | Detach) -> None:
        """Carry what has no answer; an agent that is gone needs it no more."""
        try:
            agent = self._hosting.directory.get(message.agent)
        except AgentNotFound:
            return
        worker = self._supervisor.workers.get(agent.worker)
        if agent.state is State.READY and worker is not None:
            route = bytes([address[0]]) + address[1]
            if isinstance(message, Detach):
                self._open.get(worker.id, {}).pop((route, message.id), None)
                self._budgets.give((address, message.id))
            self._supervisor.relay(worker, route, pack(message))

    def answer(self, worker: Worker, route: bytes, message: Message, frames: list[Any]) -> None:
        """Carry what a worker answers to who asked."""
        open_calls = self._open.get(worker.id, {})
        asked = (route, getattr(message, "id", 0))
        address = (route[0], route[1:])
        if message.kind != "chunk":  # there are more of them, and an end
            open_calls.pop(asked, None)
            self._budgets.give((address, asked[1]))
        there = self._answers.send(address, _unchanged(frames))
        if not there and message.kind == "chunk" and asked in open_calls:
            # The worker cannot see it: what it sends only goes as far as here.
            call = open_calls.pop(asked)
            self._budgets.give((address, asked[1]))
            self._supervisor.relay(worker, route, pack(Detach(asked[1], call.agent)))

    def _worker_silent(self, worker: Worker, error: AgentdError) -> None:
        for route, number in self._open.pop(worker.id, {}):
            self._answers.give((route[0], route[1:]), error_message(number, error))

    def lost(self, worker: Worker) -> None:
        """It is gone: who waits for it is told what became of the call."""
        for (route, number), call in self._open.pop(worker.id, {}).items():
            address = (route[0], route[1:])
            self._budgets.give((address, number))
            fate = self._hosting.directory.fate(call.agent, call.epoch)
            if fate is not None:
                told = self._gate.tells(self._sessions.who_at(address), fate)
                self._answers.give(address, error_message(number, told))


def _unchanged(frames: list[Any]) -> list[Any]:
    """The same, which nobody changes until they have gone: so nobody copies them."""
    return [frame.toreadonly() if type(frame) is memoryview else frame for frame in frames]
