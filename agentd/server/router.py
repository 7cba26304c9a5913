"""Frames in, frames out: reads headers, finds who is meant, carries sealed payloads.

One method per kind of message. What an error means for the peer is decided in one place
(``_answer_errors``); nothing here waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from agentd.config import ServerConfig
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    Draining,
    ProtocolError,
    TooLate,
    VersionMismatch,
)
from agentd.ids import show
from agentd.protocol import (
    PROTOCOL,
    Lateness,
    Versions,
    error_message,
    local_versions,
    pack,
    unpack,
)
from agentd.protocol.messages import (
    Accepted,
    Answer,
    Ask,
    Attach,
    Bye,
    Call,
    Cancel,
    Create,
    Credit,
    Detach,
    Drained,
    Dropped,
    Enlist,
    Fate,
    Fetch,
    Hello,
    Locate,
    Message,
    Offer,
    Ping,
    Pong,
    Read,
    Ready,
    Release,
    Started,
    StartFailed,
    Supply,
    Vouch,
    Vouched,
    Wanted,
    Welcome,
)
from agentd.server.directory import Agent
from agentd.server.gate import Gate
from agentd.server.hosting import Hosting
from agentd.server.lifecycle import State
from agentd.server.sessions import Address, Session, Sessions
from agentd.server.supervisor import Supervisor, Worker
from agentd.server.vigil import Vigil
from agentd.transport.loop import Loop
from agentd.transport.sockets import Port, Unreachable

__all__ = ["Router"]

log = logging.getLogger("agentd.server")

Asked = Callable[[str, dict[str, Any], Callable[[bytes], None], Callable[[Agent], bool]], None]
"""Administration: ``(what, params, answer, sees)``; raises ``AgentdError``."""


class Router:
    """Serves the front sockets and the back socket."""

    def __init__(
        self,
        config: ServerConfig,
        loop: Loop,
        node: str,
        fronts: list[Port],
        back: Port,
        hosting: Hosting,
        supervisor: Supervisor,
        sessions: Sessions,
        asked: Asked,
        gate: Gate,
        who_of: Callable[[int], str],
    ) -> None:
        self._config = config
        self._loop = loop
        self._node = node
        self._fronts = fronts
        self._hosting = hosting
        self._supervisor = supervisor
        self._sessions = sessions
        self._asked = asked
        self._gate = gate
        self._who_of = who_of
        self._relayed: dict[str, dict[tuple[bytes, int], Call | Fetch | Read | Attach]] = {}
        self._lateness = Lateness(config.heartbeat_s)
        self._vigil = Vigil(
            loop,
            supervisor,
            config.heartbeat_s,
            lambda worker: bool(self._relayed.get(worker.id)),
            self._worker_silent,
        )
        self.on_drained: Callable[[], None] = lambda: None
        self.undelivered = 0
        """Answers to clients that had gone away."""
        for number, front in enumerate(fronts):
            loop.serve(front, partial(self._from_client, number))
        loop.serve(back, self._from_worker)
        hosting.on_worker_lost = self._worker_lost

    # -- clients -----------------------------------------------------------------------------------
    def _from_client(self, front: int, frames: list[Any]) -> None:
        address: Address = (front, frames[0])
        try:
            message = unpack(frames[1:])
        except ProtocolError as error:
            self.answer(address, error_message(0, error))
            return
        who = self._who_of(front)
        number = getattr(message, "id", 0)
        if isinstance(message, Hello):
            try:
                self._gate.check(who, None, message, [])
            except AgentdError as error:
                self.answer(address, error_message(number, error))
            else:
                self._hello(address, who, message)
            return
        session = self._sessions.touch(address)
        if session is None:
            refusal = ProtocolError("say hello first: this connection is not known (any more)")
            self.answer(address, error_message(number, refusal))
            return
        try:
            checked = self._gate.check(who, session, message, frames[2:])
            if checked is not None:
                self._handle(address, who, session, checked, frames[2:])
        except AgentdError as error:
            self.answer(address, error_message(number, error))
        except Exception as error:  # a defect of ours: tell it, do not leave the asker alone
            log.exception("a defect: %s failed", message.kind, extra={"action": "defect"})
            told = f"the daemon failed at {message.kind!r} ({type(error).__name__}); see its log"
            self.answer(address, error_message(number, AgentdError(told)))

    def _handle(
        self,
        address: Address,
        who: str,
        session: Session,
        message: Message,
        payload: list[Any],
    ) -> None:
        late = self._lateness.is_late(address, getattr(message, "at", 0.0), self._loop.clock())
        if late and not isinstance(message, Ping):
            raise TooLate(
                f"{message.kind!r} came so late that its sender may have given it up; it was not "
                "carried out"
            )
        match message:
            case Call() | Fetch() | Read() | Attach():
                self._relay_call(address, message, payload)
            case Cancel() | Release() | Credit() | Detach():
                self._relay_note(address, message)
            case Ping():
                self.answer(address, Pong(message.id, self._loop.clock()))
            case Vouch():
                self._vigil.vouch(message.worker, self._voucher(address, message.id))
            case Offer() | Supply():
                self._take_code(address, session, message, payload)
            case Create():
                self._create(address, who, session, message, payload)
            case Locate():
                self._locate(address, who, message)
            case Fate():
                number = message.id
                self._hosting.when_fate_known(
                    message.agent,
                    message.epoch,
                    lambda fate: self.answer(
                        address, error_message(number, self._gate.tells(who, fate))
                    ),
                )
            case Ask():
                number = message.id
                self._asked(
                    message.what,
                    message.params,
                    lambda data: self.answer(address, Answer(number), [data]),
                    self._gate.sees(who),
                )
            case Bye():
                self.end_session(session, "its client ended")
            case _:
                raise ProtocolError(f"a client does not say {message.kind!r} to a daemon")

    def _hello(self, address: Address, who: str, hello: Hello) -> None:
        mine = local_versions()
        if hello.protocol != PROTOCOL:
            theirs = Versions(hello.protocol, hello.agentd, hello.python, hello.dill)
            refusal = VersionMismatch(
                f"the client runs {theirs}, the daemon {mine}; they cannot talk",
                local=str(theirs),
                remote=str(mine),
            )
            self.answer(address, error_message(hello.id, refusal))
            return
        if len(hello.session) != 16:
            self.answer(address, error_message(hello.id, ProtocolError("a session has 16 bytes")))
            return
        self._sessions.open(address, hello)
        self.answer(
            address,
            Welcome(
                hello.id,
                mine.protocol,
                mine.agentd,
                mine.python,
                "daemon",
                self._node,
                self._config.heartbeat_s,
                self._config.client_grace_s,
                mine.dill,
                self._loop.clock(),
                self._gate.takes_code(who),
            ),
        )

    def _create(
        self, address: Address, who: str, session: Session, message: Create, payload: list[Any]
    ) -> None:
        if self._hosting.directory.is_known(message.agent, session.id):
            # It came before: the connection broke, and the client asks again.
            agent, existing = message.agent, False
        else:
            created, existing = self._hosting.create(message, payload, session.id, who)
            agent = created.id
        if message.ack:
            self.answer(address, Accepted(message.id, agent, existing))
        self._hosting.when_settled(agent, self._settler(address, who, message.id))

    def _take_code(
        self, address: Address, session: Session, message: Offer | Supply, payload: list[Any]
    ) -> None:
        store, code = self._hosting.store, message.code
        if len(payload) != 1:
            raise ProtocolError(f"{message.kind!r} has one frame of payload")
        if isinstance(message, Offer):
            here = self._sessions.is_here(session)
            wanted = store.offer(address, code, payload[0], local=here)
        else:
            store.supply(code, message.file, payload[0])
            wanted = store.wanted(address, code)
        self.answer(address, Wanted(message.id, wanted))

    def _locate(self, address: Address, who: str, message: Locate) -> None:
        if message.agent is not None:
            agent = message.agent
        elif message.name is not None:
            agent = self._hosting.directory.find(message.name).id
        else:
            raise ProtocolError("locate needs an agent or a name")
        self._hosting.when_settled(agent, self._settler(address, who, message.id))

    def _settler(
        self, address: Address, who: str, number: int
    ) -> Callable[[Ready | AgentdError, list[Any]], None]:
        def settled(outcome: Ready | AgentdError, payload: list[Any]) -> None:
            if isinstance(outcome, AgentdError):
                codec = outcome.facts.get("codec", "")
                if codec != "data" and not self._gate.takes_code(who):
                    codec, payload = "", []  # the facts tell what it was
                told = self._gate.tells(who, outcome)
                self.answer(address, error_message(number, told, codec), payload)
            else:
                self.answer(address, Ready(number, *outcome[1:]))

        return settled

    def _voucher(self, address: Address, number: int) -> Callable[[str | AgentdError], None]:
        def tell(verdict: str | AgentdError) -> None:
            if isinstance(verdict, AgentdError):
                self.answer(address, error_message(number, verdict))
            else:
                self.answer(address, Vouched(number, verdict))

        return tell

    def end_session(self, session: Session, reason: str) -> None:
        """Its agents with ``lifetime="client"`` end."""
        self._sessions.close(session)
        for agent in self._hosting.directory.owned_by(session.id):
            self._hosting.delete(agent, reason)

    def answer(self, address: Address, message: Message, payload: list[Any] | None = None) -> None:
        """Send to a client; one that has gone away is counted."""
        try:
            frames = pack(message, payload or ())
        except ProtocolError as error:  # a class of thousands of methods, say
            frames = pack(error_message(getattr(message, "id", 0), error))
        self._send_front(address, frames)

    def _send_front(self, address: Address, frames: list[Any]) -> bool:
        """Send to a client; False if it has gone away."""
        front, route = address
        try:
            self._loop.send(self._fronts[front], [route, *frames])
        except Unreachable:
            self.undelivered += 1
            log.debug("an answer found its client gone")
            return False
        return True

    # -- relaying ----------------------------------------------------------------------------------
    def _relay_call(
        self, address: Address, call: Call | Fetch | Read | Attach, payload: list[Any]
    ) -> None:
        agent = self._hosting.directory.get(call.agent)
        if self._hosting.draining:
            raise Draining("the daemon is stopping and takes no new calls", agent=show(call.agent))
        if agent.state is not State.READY or agent.epoch != call.epoch:
            raise AgentNotFound(
                f"agent {agent.label} is not at epoch {call.epoch} any more", moved=True
            )
        worker = self._supervisor.workers[agent.worker]
        route = bytes([address[0]]) + address[1]
        self._relayed.setdefault(worker.id, {})[route, call.id] = call
        self._supervisor.relay(worker, route, pack(call, payload))
        self._vigil.look_after()

    def _relay_note(self, address: Address, message: Cancel | Release | Credit | Detach) -> None:
        """Carry what has no answer; an agent that is gone needs it no more."""
        try:
            agent = self._hosting.directory.get(message.agent)
        except AgentNotFound:
            return
        worker = self._supervisor.workers.get(agent.worker)
        if agent.state is State.READY and worker is not None:
            route = bytes([address[0]]) + address[1]
            if isinstance(message, Detach):
                self._relayed.get(worker.id, {}).pop((route, message.id), None)
            self._supervisor.relay(worker, route, pack(message))

    def _from_worker(self, frames: list[Any]) -> None:
        sender, route = frames[0], frames[1]
        try:
            message = unpack(frames[2:])
        except ProtocolError:
            log.exception("a worker sent what is no message", extra={"action": "worker_garbled"})
            return
        worker = self._supervisor.by_route(sender)
        if isinstance(message, Enlist):
            self._supervisor.enlist(sender, message)
        elif worker is None:
            log.debug("a message of a worker that is gone")
        elif route:
            self._relay_answer(worker, route, message, frames[2:])
        else:
            self._handle_worker(worker, message, frames[3:])

    def _relay_answer(
        self, worker: Worker, route: bytes, message: Message, frames: list[Any]
    ) -> None:
        open_calls = self._relayed.get(worker.id, {})
        asked = (route, getattr(message, "id", 0))
        if message.kind not in ("chunk", "accepted"):  # those are not the last answer
            open_calls.pop(asked, None)
        there = self._send_front((route[0], route[1:]), frames)
        if not there and message.kind == "chunk" and asked in open_calls:
            # The worker cannot see it: what it sends only goes as far as here.
            call = open_calls.pop(asked)
            self._supervisor.relay(worker, route, pack(Detach(asked[1], call.agent)))

    def _handle_worker(self, worker: Worker, message: Message, payload: list[Any]) -> None:
        match message:
            case Started():
                self._hosting.started(worker, message)
            case StartFailed():
                self._hosting.start_failed(worker, message, payload)
            case Dropped():
                self._hosting.dropped(worker, message.agent, message.epoch)
            case Drained():
                worker.drained = True
                self.on_drained()
            case Pong():
                self._vigil.answered(worker)
            case Ping():
                self._supervisor.tell(worker, Pong(message.id, self._loop.clock()), [])
            case _:
                log.error(
                    "a worker does not say %r", message.kind, extra={"action": "worker_garbled"}
                )

    def _worker_silent(self, worker: Worker, error: AgentdError) -> None:
        for route, number in self._relayed.pop(worker.id, {}):
            self._send_front((route[0], route[1:]), pack(error_message(number, error)))

    def _worker_lost(self, worker: Worker) -> None:
        for (route, number), call in self._relayed.pop(worker.id, {}).items():
            fate = self._hosting.directory.fate(call.agent, call.epoch)
            if fate is not None:
                told = self._gate.tells(self._who_of(route[0]), fate)
                self._send_front((route[0], route[1:]), pack(error_message(number, told)))
        if worker.drained is False and self._hosting.draining:
            worker.drained = True
            self.on_drained()
