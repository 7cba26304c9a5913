"""Frames in, frames out: reads headers, finds who is meant, carries sealed payloads.

One method per kind of message. What an error means for the peer is decided in one place
(``_answer_errors``); nothing here waits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentd.config import ServerConfig
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    AuthenticationFailed,
    CodecNotAllowed,
    Draining,
    NotAllowed,
    PayloadTooLarge,
    ProtocolError,
    TooLate,
    VersionMismatch,
)
from agentd.ids import show
from agentd.protocol import (
    PROTOCOL,
    HeaderLimits,
    Lateness,
    Versions,
    error_message,
    local_versions,
    pack,
    unpack,
)
from agentd.protocol.budgets import Budgets, Room
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
    Keep,
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
from agentd.server.delivery import FIRST_MARK, Delivery
from agentd.server.directory import Agent
from agentd.server.gate import UNANSWERED, Gate, GrantOf
from agentd.server.hosting import Hosting
from agentd.server.lifecycle import State
from agentd.server.sessions import Address, Connection, Session, Sessions
from agentd.server.supervisor import Supervisor, Worker
from agentd.server.trail import Trail
from agentd.server.vigil import Vigil
from agentd.transport.connections import Connection as Wire
from agentd.transport.connections import Connections
from agentd.transport.faults import Faults
from agentd.transport.localfront import LocalFront
from agentd.transport.loop import Loop
from agentd.transport.origin import Origin, disconnect, mark_of
from agentd.transport.unreachable import Unreachable

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["Router"]

log = logging.getLogger("agentd.server")

Asked = Callable[[str, dict[str, Any], Callable[[bytes], None], Callable[[Agent], bool]], None]
"""Administration: ``(what, params, answer, sees)``; raises ``AgentdError``."""


_FOR_AGENT = (Call, Fetch, Read, Attach)
_QUESTIONS = (*_FOR_AGENT, Create, Locate, Fate, Ask, Vouch, Offer, Supply)
"""What may stay open, and so is counted."""
_CHARGED = (Hello, Ping, Ask)
"""What tells of the daemon, and carries nothing on; beside all that is refused."""
_NO_ANSWERS = ("accepted", "pong", "welcome")
"""Of these a question may have others after them, or they answer none that is counted."""
KICK_S: Final = 0.2
"""How long a peer that is to be disconnected has to read why."""


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
    ) -> None:
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
        self._connections = connections
        connections.on_lost = self._connection_lost
        self._asked = asked
        self._header_limits = HeaderLimits(
            config.max_header_bytes,
            config.max_frames,
            config.max_header_depth,
            config.max_header_items,
        )
        self.budgets = Budgets(
            Room(config.client_calls, config.client_bytes),
            Room(config.agent_calls, config.agent_bytes),
            Room(config.daemon_calls, config.daemon_bytes),
            loop.clock,
        )
        self.delivery = Delivery(config.max_queued_bytes)
        self._own = f"uid:{os.geteuid()}"
        self._trail = trail
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
        self._turned_away: set[Address] = set()
        """Those that are being disconnected."""
        self.undelivered = 0
        """Answers to clients that had gone away."""
        self.malformed = 0
        """Messages that were none, or over a limit of headers."""
        self.disconnected_malformed = 0
        """Clients that sent too many of those."""
        self._faults = Faults(config.max_malformed, loop.clock)
        self.too_large = 0
        """Messages over ``max_message_bytes``."""
        self.disconnected_unread = 0
        """Clients that did not read what they had asked for."""
        for number, front in enumerate(fronts):
            loop.serve(front, partial(self._from_client, number))
        supervisor.on_message = self._from_worker
        hosting.on_worker_lost = self._worker_lost

    # -- clients -----------------------------------------------------------------------------------
    def _from_client(self, front: int, frames: list[Any]) -> None:
        origin: Origin = frames[0]
        address: Address = (front, origin.route)
        if self._grant_of(origin.who) is None or not origin.is_ours:
            self._turn_away(address, origin)  # not a byte of it is read
            return
        if self._faults.is_shut_out(origin.peer):
            self._charge(address, frames)
            disconnect(origin.fd, mark_of(origin.fd))
            return
        try:
            message = unpack(frames[1:], self._header_limits)
        except ProtocolError as error:
            self._charge(address, frames)
            self._malformed(address, origin, error)
            return
        if isinstance(message, _CHARGED):
            self._charge(address, frames)
        if isinstance(message, Hello):
            self._hello(address, origin, message)
            return
        session = self._sessions.touch(address, origin.who)
        number = getattr(message, "id", 0)
        if session is None:
            self._charge(address, frames)
            refusal = ProtocolError("say hello first: this connection is not known (any more)")
            self.answer(address, error_message(number, refusal))
            return
        counted = isinstance(message, _QUESTIONS)
        if counted and self.budgets.holds((address, number)):
            self._charge(address, frames)
            # Answered as nobody's: the answer with that number belongs to the one that is open.
            refusal = ProtocolError(f"question {number} of this connection is open already")
            self.answer(address, error_message(0, refusal))
            return
        try:
            checked = self._gate.check(session.who, message)
            if counted:
                self._admit(address, session, checked, frames[1:])
            self._handle(address, session, checked, frames[2:])
        except AgentdError as error:
            self._charge(address, frames)
            self._refuse(address, session, message, error)
        except Exception as error:  # a defect of ours: tell it, do not leave the asker alone
            log.exception("a defect: %s failed", message.kind, extra={"action": "defect"})
            told = f"the daemon failed at {message.kind!r} ({type(error).__name__}); see its log"
            self.answer(address, error_message(number, AgentdError(told)))

    def _refuse(
        self, address: Address, session: Session, message: Message, error: AgentdError
    ) -> None:
        if isinstance(error, (NotAllowed, CodecNotAllowed)):
            self._trail.denied(session.who, message)
            log.debug("denied", extra={"action": "denied", "who": session.who})
            if isinstance(message, UNANSWERED):
                return
        self.answer(address, error_message(getattr(message, "id", 0), error))

    def _charge(self, address: Address, frames: list[Any]) -> None:
        """What came made work that helps nobody: who sends much of that is served slowly."""
        self._fronts[address[0]].charge(address[1], _size(frames[1:]))

    def _malformed(self, address: Address, origin: Origin, error: ProtocolError) -> None:
        """Answer what was no message; who sends many of them is not listened to for a while."""
        self.malformed += 1
        self.answer(address, error_message(0, error))
        seconds = self._faults.add(origin.peer)
        if seconds:
            self.disconnected_malformed += 1
            log.warning(
                "%s (%s) was disconnected: it sent %d messages that were none "
                "(max_malformed); nothing of it is read for %g s",
                origin.who,
                origin.peer,
                self._config.max_malformed,
                seconds,
                extra={"action": "disconnected_malformed", "peer": origin.peer},
            )
            disconnect(origin.fd, mark_of(origin.fd))

    def _admit(self, address: Address, session: Session, message: Any, frames: list[Any]) -> None:
        """Count a question; it counts until it is answered. Raises if it is over a limit."""
        size = _size(frames)
        if size > self._config.max_message_bytes:
            self.too_large += 1
            raise PayloadTooLarge(
                f"this {message.kind!r} has {size:,} bytes; the daemon takes "
                f"{self._config.max_message_bytes:,} (max_message_bytes)",
                limit=self._config.max_message_bytes,
                size=size,
                setting="max_message_bytes",
            )
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
                self._relay_call(address, session.who, message, payload)
            case Cancel() | Keep() | Release() | Credit() | Detach():
                self._relay_note(address, message)
            case Ping() | Pong():
                self._sign_of_life(address, message)
            case Vouch():
                self._vigil.vouch(message.worker, self._voucher(address, message.id))
            case Offer() | Supply():
                self._take_code(address, session, message, payload)
            case Create():
                self._create(address, session, message, payload)
            case Locate():
                self._locate(address, session.who, message)
            case Fate():
                number, who = message.id, session.who
                self._hosting.when_fate_known(
                    message.agent,
                    message.epoch,
                    lambda fate: self.answer(
                        address, error_message(number, self._gate.tells(who, fate))
                    ),
                )
            case Ask():
                self._ask(address, session, message)
            case Bye():
                self.end_session(session, "its client ended")
            case _:
                raise ProtocolError(f"a client does not say {message.kind!r} to a daemon")

    def _sign_of_life(self, address: Address, message: Ping | Pong) -> None:
        if isinstance(message, Ping):
            self.answer(address, Pong(message.id, self._loop.clock()))
        else:
            self.delivery.shown(address, message.id)

    def _turn_away(self, address: Address, origin: Origin) -> None:
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
            connection = origin.fd, mark_of(origin.fd)
            self._loop.later(KICK_S, partial(self._kick, address, connection))

    def _say_no(self, address: Address, who: str) -> None:
        refusal = AuthenticationFailed(
            f"this daemon has no grant for {who or 'you'} (any more); its user can give one with: "
            "agentctl keys add",
            who=who,
        )
        self.answer(address, error_message(0, refusal))

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

    def _hello(self, address: Address, origin: Origin, hello: Hello) -> None:
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
        self._sessions.open(address, hello, origin.who, (origin.fd, mark_of(origin.fd)))
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
                self._config.max_message_bytes,
                self._endpoint,
                self._gate.takes_code(origin.who),
            ),
        )

    def _create(
        self, address: Address, session: Session, message: Create, payload: list[Any]
    ) -> None:
        if self._hosting.directory.is_known(message.agent, session.id):
            # It came before: the connection broke, and the client asks again.
            agent, existing = message.agent, False
        else:
            self._trail.creates(session.who, message)
            created, existing = self._hosting.create(message, payload, session.id, session.who)
            agent = created.id
        if message.ack:
            self.answer(address, Accepted(message.id, agent, existing))
        self._hosting.when_settled(agent, self._settler(address, session.who, message.id))

    def _ask(self, address: Address, session: Session, message: Ask) -> None:
        number = message.id
        self._trail.asks(session.who, message)
        self._asked(
            message.what,
            message.params,
            lambda data: self.answer(address, Answer(number), [data]),
            self._gate.sees(session.who),
        )

    def _take_code(
        self, address: Address, session: Session, message: Offer | Supply, payload: list[Any]
    ) -> None:
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
                ready = Ready(number, *outcome[1:])
                self._trail.reaches(who, ready.agent, ready.name, ready.cls)
                self.answer(address, ready)

        return settled

    def _voucher(self, address: Address, number: int) -> Callable[[str | AgentdError], None]:
        def tell(verdict: str | AgentdError) -> None:
            if isinstance(verdict, AgentdError):
                self.answer(address, error_message(number, verdict))
            else:
                self.answer(address, Vouched(number, verdict))

        return tell

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
        self.budgets.give_all(session.id)
        for agent in self._hosting.directory.owned_by(session.id):
            self._hosting.delete(agent, reason)

    def answer(self, address: Address, message: Message, payload: list[Any] | None = None) -> None:
        """Send to a client; one that has gone away is counted."""
        if message.kind not in _NO_ANSWERS:
            self.budgets.give((address, getattr(message, "id", 0)))
        try:
            frames = pack(message, payload or ())
        except ProtocolError as error:  # a class of thousands of methods, say
            frames = pack(error_message(getattr(message, "id", 0), error))
        self._send_front(address, frames)

    def _send_front(self, address: Address, frames: list[Any]) -> bool:
        """Send to a client; False if it has gone away, or is given up as it does not read."""
        if self.delivery.is_behind(address):
            self._give_up(address)
            return False
        if not self._sent(address, frames):
            return False
        mark = self.delivery.sent(address, _size(frames))
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
                self._config.max_queued_bytes >> 20,
                extra={"action": "disconnected_unread", "peer": who, "waiting": waiting},
            )

    def ask_for_life(self, connection: Wire) -> None:
        """Send a ping, which any client answers that is not in the middle of a message."""
        if connection.route:
            self._sent((connection.front, connection.route), pack(Ping(FIRST_MARK)))

    def _connection_lost(self, connection: Wire) -> None:
        self.delivery.forget((connection.front, connection.route))
        self._fronts[connection.front].forget(connection.route)

    # -- relaying ----------------------------------------------------------------------------------
    def _relay_call(
        self,
        address: Address,
        who: str,
        call: Call | Fetch | Read | Attach,
        payload: list[Any],
    ) -> None:
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
        self._relayed.setdefault(worker.id, {})[route, call.id] = call
        self._supervisor.relay(worker, route, pack(call, payload))
        self._vigil.look_after()

    def _relay_note(
        self, address: Address, message: Cancel | Keep | Release | Credit | Detach
    ) -> None:
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
                self.budgets.give((address, message.id))
            self._supervisor.relay(worker, route, pack(message))

    def _from_worker(self, worker: Worker, frames: list[Any]) -> None:
        route = frames[0]
        try:
            message = unpack(frames[1:])
        except ProtocolError:
            log.exception("a worker sent what is no message", extra={"action": "worker_garbled"})
            return
        if route:
            self._relay_answer(worker, route, message, frames[1:])
        else:
            self._handle_worker(worker, message, frames[2:])

    def _relay_answer(
        self, worker: Worker, route: bytes, message: Message, frames: list[Any]
    ) -> None:
        open_calls = self._relayed.get(worker.id, {})
        asked = (route, getattr(message, "id", 0))
        address = (route[0], route[1:])
        if message.kind != "chunk":  # there are more of them, and an end
            open_calls.pop(asked, None)
            self.budgets.give((address, asked[1]))
        there = self._send_front(address, frames)
        if not there and message.kind == "chunk" and asked in open_calls:
            # The worker cannot see it: what it sends only goes as far as here.
            call = open_calls.pop(asked)
            self.budgets.give((address, asked[1]))
            self._supervisor.relay(worker, route, pack(Detach(asked[1], call.agent)))

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
            case Ping():
                self._supervisor.tell(worker, Pong(message.id, self._loop.clock()), [])
            case _:
                log.error(
                    "a worker does not say %r", message.kind, extra={"action": "worker_garbled"}
                )

    def _worker_silent(self, worker: Worker, error: AgentdError) -> None:
        for route, number in self._relayed.pop(worker.id, {}):
            self.answer((route[0], route[1:]), error_message(number, error))

    def _worker_lost(self, worker: Worker) -> None:
        for (route, number), call in self._relayed.pop(worker.id, {}).items():
            address = (route[0], route[1:])
            self.budgets.give((address, number))
            fate = self._hosting.directory.fate(call.agent, call.epoch)
            if fate is not None:
                told = self._gate.tells(self._sessions.who_at(address), fate)
                self.answer(address, error_message(number, told))
        if worker.drained is False and self._hosting.draining:
            worker.drained = True
            self.on_drained()


def _size(frames: list[Any]) -> int:
    return sum(len(f) if type(f) is bytes else memoryview(f).nbytes for f in frames)
