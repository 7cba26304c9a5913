"""Frames in: reads headers, checks what may come in, and hands on what each message asks for.

What an error means for the peer is decided in one place (``_from_client``); nothing here waits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agentd.config import ServerConfig
from agentd.errors import (
    AgentdError,
    CodecNotAllowed,
    NotAllowed,
    Overloaded,
    PayloadTooLarge,
    ProtocolError,
    TooLate,
    VersionMismatch,
)
from agentd.keys.screening import Screening
from agentd.protocol import (
    PROTOCOL,
    Beats,
    HeaderLimits,
    Lateness,
    Versions,
    defect_message,
    error_message,
    local_versions,
    unmet,
    unpack,
)
from agentd.protocol.budgets import Budgets, Room
from agentd.protocol.checks import UNANSWERED, GrantOf
from agentd.protocol.messages import (
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
    Keep,
    Locate,
    Message,
    Noted,
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
    Welcome,
)
from agentd.protocol.sizes import check_size, size_of
from agentd.server.answers import Answers
from agentd.server.departures import Departures
from agentd.server.doors import Doors
from agentd.server.gate import Gate
from agentd.server.hosting import Hosting
from agentd.server.relay import Relay
from agentd.server.requests import Asked, Requests
from agentd.server.sessions import Session, Sessions
from agentd.server.supervisor import Supervisor
from agentd.server.trail import Trail
from agentd.server.workers import Worker
from agentd.transport.connections import Connections
from agentd.transport.localfront import LocalFront
from agentd.transport.loop import Loop
from agentd.transport.origin import Address, Origin

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["Router"]

log = logging.getLogger("agentd.server")

_FOR_AGENT = (Call, Fetch, Read, Attach)
_QUESTIONS = (*_FOR_AGENT, Create, Locate, Fate, Ask, Vouch)
"""What may stay open, and so is counted."""
_CODE = (Offer, Supply)
"""What creations that are open wait for, so that it is not counted beside them; it is answered at
once."""
_CHARGED = (Hello, Ping, Ask)
"""What tells of the daemon, and carries nothing on, but for pings that are due and what ends
agents; beside all that is refused."""
_ENDS = frozenset(("delete", "kill"))


class Router:
    """Serves the front sockets, and hears the workers."""

    def __init__(
        self,
        config: ServerConfig,
        loop: Loop,
        node: str,
        endpoint: str,
        fronts: Sequence[FrontPort | LocalFront],
        hosting: Hosting,
        supervisor: Supervisor,
        sessions: Sessions,
        connections: Connections,
        asked: Asked,
        grant_of: GrantOf,
        gate: Gate,
        trail: Trail,
        doors: Doors | None,
    ) -> None:
        """``doors``: of workers that are on the network; ``None``: they are not."""
        self._config = config
        self._grant_of = grant_of
        self._gate = gate
        self._loop = loop
        self._node = node
        self._endpoint = endpoint
        self._fronts = fronts
        self._hosting = hosting
        self._supervisor = supervisor
        self._sessions = sessions
        self._trail = trail
        self._own = f"uid:{os.geteuid()}"
        self._lateness = Lateness(config.heartbeat_s)
        self._beats = Beats(config.heartbeat_s, loop.clock)
        self.budgets = budgets = Budgets(
            Room(config.client_calls, config.client_bytes),
            Room(config.agent_calls, config.agent_bytes),
            Room(config.daemon_calls, config.daemon_bytes),
            loop.clock,
        )
        self.answers = answers = Answers(
            loop, fronts, sessions, connections, budgets, config.max_queued_bytes
        )
        self.departures = Departures(loop, sessions, hosting, answers, budgets, trail)
        self.screening = Screening(
            grant_of,
            HeaderLimits(
                config.max_header_bytes,
                config.max_frames,
                config.max_header_depth,
                config.max_header_items,
            ),
            config.max_malformed,
            loop.clock,
            turn_away=self.departures.turn_away,
            charge=self._charge,
            answer=answers.give,
        )
        self._relay = Relay(
            loop,
            config.heartbeat_s,
            hosting,
            supervisor,
            sessions,
            answers,
            budgets,
            gate,
            trail,
        )
        self._vigil = self._relay.vigil
        self._doors = doors
        self._requests = Requests(
            hosting, sessions, answers, gate, trail, self._vigil, asked, self._told
        )
        self.on_drained: Callable[[], None] = lambda: None
        self.too_large = 0
        """Messages over ``max_message_bytes``."""
        for number, front in enumerate(fronts):
            loop.serve(front, partial(self._from_client, number))
        supervisor.on_message = self._from_worker
        hosting.on_worker_lost = self._worker_lost

    # -- clients -----------------------------------------------------------------------------------
    def _from_client(self, front: int, frames: list[Any]) -> None:
        origin: Origin = frames[0]
        address: Address = (front, origin.route)
        message = self.screening.read(address, frames)
        if message is None:
            return
        if isinstance(message, _CHARGED) and not self._is_work(address, message):
            self._charge(address, frames)
        if isinstance(message, Hello):
            self._hello(address, origin, message)
            return
        session = self._sessions.touch(address, origin.who)
        number = getattr(message, "id", 0)
        if session is None:
            self._charge(address, frames)
            self.answers.give(address, error_message(number, unmet()))
            return
        counted = isinstance(message, _QUESTIONS)
        if counted and self.budgets.holds((address, number)):
            self._charge(address, frames)
            # Answered as nobody's: the answer with that number belongs to the one that is open.
            refusal = ProtocolError(f"question {number} of this connection is open already")
            self.answers.give(address, error_message(0, refusal))
            return
        try:
            checked = self._gate.check(session.who, message)
            if counted:
                self._admit(address, session, checked, self._measure(checked, frames))
            elif isinstance(checked, _CODE):
                self._measure(checked, frames)
            self._handle(address, session, checked, frames[2:])
        except AgentdError as error:
            if not isinstance(error, TooLate):  # we are behind: to serve it slowly would not help
                self._charge(address, frames, excused=isinstance(error, Overloaded))
            self._refuse(address, session, message, error)
        except Exception as failure:
            log.exception("a defect: %s failed", message.kind, extra={"action": "defect"})
            self.answers.give(address, defect_message(number, "daemon", message.kind, failure))

    def _refuse(
        self, address: Address, session: Session, message: Message, error: AgentdError
    ) -> None:
        if isinstance(error, (NotAllowed, CodecNotAllowed)):
            self._trail.denied(session.who, message)
            log.debug("denied", extra={"action": "denied", "who": session.who})
            if isinstance(message, UNANSWERED):
                return
        self.answers.give(address, error_message(getattr(message, "id", 0), error))

    def _charge(self, address: Address, frames: list[Any], *, excused: bool = False) -> None:
        """What came made work that helps nobody: who sends much of that is served slowly."""
        self._fronts[address[0]].charge(address[1], size_of(frames[1:]), excused=excused)

    def _is_work(self, address: Address, message: Message) -> bool:
        if isinstance(message, Ask):
            return message.what in _ENDS
        return isinstance(message, Ping) and self._beats.is_due(address)

    def _measure(self, message: Message, frames: list[Any]) -> int:
        """How many bytes a message has; raises ``PayloadTooLarge``."""
        size = size_of(frames[1:])
        try:
            check_size(message.kind, size, self._config.max_message_bytes, "the daemon")
        except PayloadTooLarge:
            self.too_large += 1
            raise
        return size

    def _admit(self, address: Address, session: Session, message: Any, size: int) -> None:
        """Count a question; it counts until it is answered. Raises if it is over a limit."""
        agent = message.agent if isinstance(message, _FOR_AGENT) else None
        self.budgets.take((address, message.id), self._client_of(session), agent, size)

    def _client_of(self, session: Session) -> Hashable:
        """Whose budget it is. A stranger cannot have a second one by a second session."""
        return session.id if session.who == self._own else session.who

    def _handle(
        self, address: Address, session: Session, message: Message, payload: list[Any]
    ) -> None:
        late = self._lateness.is_late(address, getattr(message, "at", 0.0), self._loop.clock())
        if late and not isinstance(message, Ping):
            raise TooLate(
                f"{message.kind!r} came so late that its sender may have given it up; it was not "
                "carried out"
            )
        match message:
            case Call() | Fetch() | Read() | Attach():
                self._relay.call(address, session.who, message, payload)
            case Cancel() | Keep() | Release() | Credit() | Detach():
                self._relay.note(address, message)
            case Ping() | Pong():
                self._sign_of_life(address, message)
            case Vouch():
                self._requests.vouch(address, message)
            case Offer() | Supply():
                self._requests.take_code(address, session, message, payload)
            case Create():
                self._requests.create(address, session, message, payload)
            case Locate():
                self._requests.locate(address, session.who, message)
            case Fate():
                self._requests.fate(address, session.who, message)
            case Ask():
                self._requests.ask(address, session, message)
            case Bye():
                self.departures.end_session(session, "its client ended")
            case _:
                raise ProtocolError(f"a client does not say {message.kind!r} to a daemon")

    def _sign_of_life(self, address: Address, message: Ping | Pong) -> None:
        if isinstance(message, Ping):
            self.answers.give(address, Pong(message.id, self._loop.clock()))
        else:
            self.answers.delivery.shown(address, message.id)

    def _hello(self, address: Address, origin: Origin, hello: Hello) -> None:
        mine = local_versions()
        if hello.protocol != PROTOCOL:
            theirs = Versions(hello.protocol, hello.agentd, hello.python, hello.dill)
            refusal = VersionMismatch(
                f"the client runs {theirs}, the daemon {mine}; they cannot talk",
                local=str(theirs),
                remote=str(mine),
            )
            self.answers.give(address, error_message(hello.id, refusal))
            return
        if len(hello.session) != 16:
            self.answers.give(
                address, error_message(hello.id, ProtocolError("a session has 16 bytes"))
            )
            return
        self._sessions.open(address, hello, origin.who, (origin.fd, origin.mark))
        self.answers.give(
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
                self._config.max_message_bytes,
                self._endpoint,
                self._gate.takes_code(origin.who),
            ),
        )

    def _told(self, address: Address, ready: Ready) -> Ready:
        """Where an agent is, as the client at that address is told it."""
        by_tcp = self._fronts[address[0]].kind == "tcp"
        return self._doors.told(ready) if by_tcp and self._doors is not None else ready

    def _from_worker(self, worker: Worker, frames: list[Any]) -> None:
        route = frames[0]
        try:
            message = unpack(frames[1:])
        except ProtocolError:
            log.exception("a worker sent what is no message", extra={"action": "worker_garbled"})
            return
        if route:
            self._relay.answer(worker, route, message, frames[1:])
        else:
            self._handle_worker(worker, message, frames[2:])

    def _handle_worker(self, worker: Worker, message: Message, payload: list[Any]) -> None:
        match message:
            case Enlist():
                self._supervisor.enlist(worker, message)
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
            case Noted():
                self._noted(worker, message)
            case Ping():
                self._supervisor.tell(worker, Pong(message.id, self._loop.clock()), [])
            case _:
                log.error(
                    "a worker does not say %r", message.kind, extra={"action": "worker_garbled"}
                )

    def _noted(self, worker: Worker, noted: Noted) -> None:
        """A worker tells of a peer at its door: believed of its agents, and of who has a grant."""
        if self._grant_of(noted.who) is None:
            return
        if not noted.allowed:
            self._trail.denied_by(worker.id, noted)
        elif noted.agent in worker.agents:
            spec = self._hosting.directory.get(noted.agent).spec
            self._trail.reaches(noted.who, noted.agent, spec.name, spec.cls)

    def _worker_lost(self, worker: Worker) -> None:
        self._relay.lost(worker)
        if worker.drained is False and self._hosting.draining:
            worker.drained = True
            self.on_drained()
