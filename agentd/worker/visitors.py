"""Peers that come to this worker over the network, and their messages.

The same is asked and bounded here as at the daemon's own sockets (``server/router.py``): who may
come, the checks of each message, what may be open, what waits unread, who owes and who is at fault.
What goes on to the host bears the verdict, and is read as what a daemon relays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentd.errors import (
    AgentdError,
    AuthenticationFailed,
    CodecNotAllowed,
    Draining,
    NotAllowed,
    Overloaded,
    ProtocolError,
    TooLate,
)
from agentd.ids import show
from agentd.keys.book import GrantBook
from agentd.keys.reading import Reading
from agentd.keys.screening import Screening
from agentd.protocol import HeaderLimits, defect_message, error_message, pack, unmet
from agentd.protocol.access import action_of
from agentd.protocol.admission import read_admission
from agentd.protocol.checks import UNANSWERED, Checks
from agentd.protocol.delivery import Delivery
from agentd.protocol.messages import (
    Attach,
    Bye,
    Call,
    Fetch,
    Hello,
    Message,
    Noted,
    Ping,
    Pong,
    Read,
)
from agentd.protocol.sizes import size_of
from agentd.transport.backlog import CALL_BYTES
from agentd.transport.connections import Connection
from agentd.transport.counted import Counted
from agentd.transport.loop import Loop
from agentd.transport.origin import Address, Origin, disconnect
from agentd.transport.restraint import Restraint
from agentd.transport.unfinished import Unfinished
from agentd.transport.unreachable import Unreachable
from agentd.worker.questions import ASKING, Asked, Asking, open_already
from agentd.worker.settings import DoorSettings, Settings
from agentd.worker.source import Source

if TYPE_CHECKING:
    from agentd.transport.door import Door
    from agentd.worker.host import Host

__all__ = ["Visit", "Visitors"]

log = logging.getLogger("agentd.worker")

_TAKEN: Final = (*ASKING, *UNANSWERED, Ping, Pong, Bye)
"""What may be said here. All else is the daemon's."""
KICK_S: Final = 0.2
"""How long a peer that is to be disconnected has to read why."""
LOOK_S: Final = 0.5
"""How often it is looked whose grant has ended."""
AGAIN_S: Final = 3600.0
"""After so long an access is told the daemon anew."""
KNOWN: Final = 10_000
"""Accesses that are remembered; one more, and all are forgotten and told anew."""


class Visit(Source):
    """A peer that came over the network, and so where answers to it go."""

    __slots__ = ("_visitors",)

    def __init__(
        self, visitors: Visitors, loop: Loop, port: Any, asked: Asked, address: Address
    ) -> None:
        super().__init__(loop, port, asked, address, address[1])
        self._visitors = visitors

    def answer(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> bool:
        """See ``Source``."""
        self.asked.answered(message)
        there = self._visitors.answer(self.who, message, payload)
        if not there:
            self.asked.unsent(message)
        return there


class Visitors:
    """All of them. What has no other word belongs to the thread of the loop."""

    def __init__(
        self,
        loop: Loop,
        door: Door,
        settings: Settings,
        told: DoorSettings,
        book: GrantBook,
        checks: Checks,
        host: Host,
    ) -> None:
        self._loop = loop
        self._door = door
        self._most = settings.max_message_bytes
        self._most_queued = settings.max_queued_bytes
        self._book = book
        self._checks = checks
        self._host = host
        self._screening = Screening(
            book.grant_of,
            HeaderLimits(
                told.max_header_bytes,
                told.max_frames,
                told.max_header_depth,
                told.max_header_items,
            ),
            told.max_malformed,
            loop.clock,
            turn_away=self._turn_away,
            charge=self._charge,
            answer=self.answer,
        )
        self._met: dict[Address, tuple[str, int, int]] = {}
        """Who said hello: as whom, and by which connection."""
        self._turned_away: set[Address] = set()
        self._accesses: dict[tuple[str, bytes], float] = {}
        self._questions = host.questions  # counted together with what comes by the own socket
        self._visits: dict[Address, Visit] = {}
        """Those who said something else since, until their connections end."""
        self._lock = threading.Lock()  # protects the next one, and the order of what is sent
        self._delivery = Delivery(settings.max_queued_bytes)
        self.cut_off = 0
        """Peers that did not read what they had asked for."""
        self.on_count: Callable[[], None] = lambda: None
        """Called twice a second, and when a peer was cut off."""
        most = settings.client_bytes + CALL_BYTES * settings.client_calls
        together = settings.daemon_bytes
        self._unfinished = Unfinished(loop, door.connections, most, together)
        self._restraint = Restraint(
            loop, door.connections, most, together, self._most, self._screening.shut_out
        )
        for number, front in enumerate(door.fronts):
            self._restraint.follow(number, front)
        door.connections.on_lost = self._lost
        door.let_wait(self._screening.left)
        door.serve(self._from_peer)
        self._look()

    def counted(self) -> Counted:
        """Who was not let in, or cut off."""
        return Counted(
            disconnected_unread=self.cut_off,
            disconnected_unfinished=self._unfinished.disconnected,
        ).plus(
            self._restraint.counted(), self._door.connections.counted(), self._screening.counted()
        )

    def close(self, linger_ms: int) -> None:
        """Close the door; answers on their way are kept for so long at most."""
        self._door.close(linger_ms)

    # -- who may come ------------------------------------------------------------------------------
    def admit(self, payload: list[Any]) -> None:
        """The daemon tells who may. What is no such list lets nobody in."""
        try:
            [packed] = payload
            reading = Reading(*read_admission(packed))
        except (ProtocolError, ValueError):
            log.exception("the daemon's list of who may come could not be read: nobody may")
            reading = Reading()
        self._evict(self._book.take(reading))

    def _look(self) -> None:
        """Grants end by themselves, too."""
        try:
            self._evict(self._book.take(None))
        finally:  # a look that fails must not be the last one
            self.on_count()
            self._loop.later(LOOK_S, self._look)

    def _evict(self, whos: Collection[str]) -> None:
        """Their grants are gone: tell them, and end their connections."""
        if not whos:
            return
        for address, (who, fd, mark) in list(self._met.items()):
            if who in whos:
                del self._met[address]
                self._say_no(address, who)
                self._loop.later(KICK_S, partial(self._kick, address, fd, mark))
        self._accesses = {key: at for key, at in self._accesses.items() if key[0] not in whos}

    def _turn_away(self, address: Address, origin: Origin) -> None:
        """Tell a peer that has no grant (any more), and end its connection."""
        if address not in self._turned_away:
            self._turned_away.add(address)
            self._say_no(address, origin.who)
            self._loop.later(KICK_S, partial(self._kick, address, origin.fd, origin.mark))

    def _say_no(self, address: Address, who: str) -> None:
        refusal = AuthenticationFailed(
            f"this worker's daemon has no grant for {who or 'you'} (any more); its user can give "
            "one with: agentctl keys add",
            who=who,
        )
        self.answer(address, error_message(0, refusal))

    def _kick(self, address: Address, fd: int, mark: int) -> None:
        self._turned_away.discard(address)
        disconnect(fd, mark)

    def _lost(self, connection: Connection) -> None:
        address = (connection.front, connection.route)
        self._met.pop(address, None)
        self._door.fronts[connection.front].forget(connection.route)
        visit = self._visits.pop(address, None)
        if visit is not None:
            visit.asked.lost()
        # Not at once: it may be learnt while the socket is read, under its lock, and who answers
        # has ours and wants that one.
        self._loop.call_soon(partial(self._forget, address))

    def _forget(self, address: Address) -> None:
        with self._lock:
            self._delivery.forget(address)

    # -- what they say -----------------------------------------------------------------------------
    def _from_peer(self, front: int, frames: list[Any]) -> None:
        origin: Origin = frames[0]
        address = (front, origin.route)
        message = self._screening.read(address, frames)
        if message is None:
            return
        try:
            self._hear(address, origin, message, frames)
        except AgentdError as error:
            if not isinstance(error, TooLate):  # we are behind: to serve it slowly would not help
                self._charge(address, frames, excused=isinstance(error, Overloaded))
            self._refuse(address, origin.who, message, error)
        except Exception as failure:
            log.exception("a defect: %s failed", message.kind)
            number = getattr(message, "id", 0)
            self.answer(address, defect_message(number, "worker", message.kind, failure))

    def _hear(self, address: Address, origin: Origin, message: Message, frames: list[Any]) -> None:
        if isinstance(message, (Hello, Ping)):
            self._charge(address, frames)
        if isinstance(message, Hello):
            self._hello(address, origin, message)
            return
        met = self._met.get(address)
        if met is None or met[0] != origin.who:
            raise unmet()
        if not isinstance(message, _TAKEN):
            raise ProtocolError(f"a client does not say {message.kind!r} to a worker")
        visit = self._visits.get(address) or self._visit(address, origin)
        if isinstance(message, ASKING) and visit.asked.is_open(message.id):
            self._charge(address, frames)
            # Answered as nobody's: the answer with that number belongs to the one that is open.
            self.answer(address, error_message(0, open_already(message.id)))
            return
        checked = self._checks.check(origin.who, message)
        match checked:
            case Call() | Fetch() | Read() | Attach():
                self._admit(visit, origin.who, checked, frames[1:])
            case Pong():
                with self._lock:
                    self._delivery.shown(address, checked.id)
                return
            case Bye():
                return  # the daemon, which has its session, is told so as well
        try:
            self._host.take(visit, checked, frames[2:])
        except BaseException:
            visit.leave(getattr(checked, "id", 0))  # it is answered by why
            raise

    def _visit(self, address: Address, origin: Origin) -> Visit:
        asked = Asked(self._questions, origin.who)
        visit = Visit(self, self._loop, self._door.fronts[address[0]], asked, address)
        if origin.mark:  # else it has gone, and nobody would forget it
            self._visits[address] = visit
        return visit

    def _hello(self, address: Address, origin: Origin, hello: Hello) -> None:
        welcome = self._host.welcome(hello)
        self._met[address] = (origin.who, origin.fd, origin.mark)
        self.answer(
            address,
            welcome.changed(max_message=self._most, takes_code=self._checks.takes_code(origin.who)),
        )

    def _refuse(self, address: Address, who: str, message: Message, error: AgentdError) -> None:
        if isinstance(error, (NotAllowed, CodecNotAllowed)):
            agent = getattr(message, "agent", b"")
            self._host.tell(Noted(who, action_of(message), agent, allowed=False))
            if isinstance(message, UNANSWERED):
                return
        self.answer(address, error_message(getattr(message, "id", 0), error))

    def _charge(self, address: Address, frames: list[Any], *, excused: bool = False) -> None:
        """What came made work that helps nobody: who sends much of that is served slowly."""
        front = self._door.fronts[address[0]]
        front.charge(address[1], size_of(frames[1:]), excused=excused)

    # -- what is open ------------------------------------------------------------------------------
    def _admit(
        self,
        visit: Visit,
        who: str,
        message: Asking,
        frames: list[Any],
    ) -> None:
        """Count a question until it is answered. Raises if it is over a limit."""
        if self._host.is_draining:
            raise Draining(
                "the daemon is stopping and takes no new calls", agent=show(message.agent)
            )
        visit.asked.admit(message, size_of(frames))
        self._reached(who, message.agent)

    def _reached(self, who: str, agent: bytes) -> None:
        """A client has access to an agent: told the daemon the first time, and each hour."""
        now = self._loop.clock()
        told = self._accesses.get((who, agent))
        if told is None or told + AGAIN_S <= now:
            if len(self._accesses) >= KNOWN:
                self._accesses.clear()
            self._accesses[who, agent] = now
            self._host.tell(Noted(who, "access", agent))

    # -- answers -----------------------------------------------------------------------------------
    def answer(
        self, address: Address, message: Message, payload: list[Any] | tuple[Any, ...] = ()
    ) -> bool:
        """Send it; False if the peer has gone, or is given up as it does not read. Any thread."""
        frames = pack(message, payload)
        with self._lock:
            there = self._send(address, frames)
        if not there:
            self._loop.call_soon(partial(self._give_up, address))
        return there

    def _send(self, address: Address, frames: list[Any]) -> bool:
        front, route = address
        port = self._door.fronts[front]
        if self._delivery.is_behind(address):
            return False
        try:
            self._loop.send(port, [route, *frames])
            mark = self._delivery.sent(address, size_of(frames))
            if mark:
                self._loop.send(port, [route, *pack(Ping(mark))])
        except Unreachable:
            return False
        return True

    def _give_up(self, address: Address) -> None:
        """End the connection of a peer that does not read: libzmq would keep all of it."""
        connection = self._door.connections.find(*address)
        if connection is None:
            return  # it has gone by itself
        who = self._door.connections.who(connection)
        if self._door.connections.end(connection):
            self.cut_off += 1
            self.on_count()
            with self._lock:
                waiting = self._delivery.waiting(address)
                self._delivery.forget(address)
            log.warning(
                "%s was disconnected: it does not read its answers, and %d MiB wait for it "
                "(max_queued_bytes: %d MiB)",
                who,
                waiting >> 20,
                self._most_queued >> 20,
            )
