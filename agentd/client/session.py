"""One client process and one daemon: finding agents, making them, calling them.

Requests to the daemon go over its link; calls go to the worker that hosts the agent, whose address
is kept in ``_places``, or through the daemon where that address cannot be reached.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from agentd.client import references
from agentd.client.breaks import Breaks, backoff
from agentd.client.dialing import dial_daemon, dial_worker
from agentd.client.knocks import Knocks
from agentd.client.lines import Lines
from agentd.client.link import Link, LinkDown, Pending
from agentd.client.shipping import Shipping
from agentd.client.trust import Reader
from agentd.client.ways import way_to
from agentd.errors import (
    AgentCreationError,
    AgentdError,
    AgentNotFound,
    CallTimeout,
    ConnectionLost,
    DaemonNotFound,
    ProtocolError,
    TooLate,
)
from agentd.ids import show
from agentd.protocol import PROTOCOL, QUIET_BEATS, local_versions, patience
from agentd.protocol.messages import (
    Accepted,
    Answer,
    Ask,
    Bye,
    Cancel,
    Create,
    Error,
    Fate,
    Hello,
    Keep,
    Locate,
    Message,
    Ping,
    Ready,
    Release,
    Result,
    Vouch,
    Vouched,
    Welcome,
)
from agentd.serialization import Bundle, Encoded
from agentd.transport import rundir
from agentd.transport.process import host_identity, process_start

if TYPE_CHECKING:
    from agentd.client.outgoing import Outgoing
    from agentd.client.results import Sending
    from agentd.client.runtime import Runtime

__all__ = ["LATE_S", "MOVES", "Session", "is_elsewhere"]

CONNECT_TIMEOUT_S = 3.0
"""How long a daemon may take to answer ``hello``; it does so before anything else."""
WORKER_TIMEOUT_S = 1.75
"""How long a worker may take, before the daemon is asked about it."""
DOUBTED_TIMEOUT_S = 0.25
"""How long one may take that is well, as the daemon says, though its connection was silent: what
was found until then took almost three heartbeats."""
SHARED_S = 1.0
"""For so long a peer that could not be met is not tried again for those who waited meanwhile."""
AVOID_S = 5.0
"""How long the daemon relays for a worker that did not answer."""
RETURN_S = 2.0
"""How long a daemon elsewhere is left alone that could not be met, unless somebody needs it."""
PAUSE_S = 1.0
"""Beats this far apart tell that this process itself stood still, not its peers."""
MOVES = 5
"""How often a call follows an agent that moved before it gives up."""
LATE_S = 0.5
"""How much later than a call's deadline the caller itself gives up: a worker answers before."""
RELEASES = 64
"""Releases told at once, at most."""


class Creation(NamedTuple):
    """An open request that makes an agent."""

    link: Link
    pending: Pending
    again: Callable[[], Creation]
    """Send it again, as the connection broke: it makes no second agent."""


class Session:
    """This process's dealings with one daemon. Every method may be called from any thread."""

    def __init__(
        self,
        runtime: Runtime,
        endpoint: str,
        *,
        direct: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._way = way_to(endpoint)
        self._runtime = runtime
        self._clock = clock
        self.alive = True
        """Neither closed, nor of the process that this one was forked from."""
        self.direct = direct and self._way.local
        self._lock = threading.RLock()  # protects the links and places
        self._daemon: Link | None = None
        self._workers: dict[str, Link | None] = {}
        """By address; ``None``: not to be reached from here, the daemon relays."""
        self._avoided: dict[str, float] = {}
        """Workers that did not answer, by address: until when the daemon relays for them."""
        self._doubted: set[str] = set()
        """Workers, by address, whose last connection was silent though they are well."""
        self._beaten = clock()
        self._refused: dict[str, tuple[float, AgentdError]] = {}
        """By endpoint: when and why nobody could be met there."""
        self._knocks = Knocks()
        self._places: dict[bytes, Ready] = {}
        self.lines = Lines()
        self.shipping = Shipping(self)
        self.limited: set[Sending] = set()
        """Open calls with a deadline that nobody waits for in a thread."""
        self._release_lock = threading.Lock()  # protects the next
        self._released: dict[bytes, list[bytes]] = {}
        self.reader = Reader(endpoint, trusted=False)

    @property
    def trusted(self) -> bool:
        """Whether what comes from there may run code here; settled when the daemon is met."""
        return self.reader.trusted

    @property
    def home(self) -> str:
        """By which endpoint the daemon's own agents know it; connects to be told."""
        link = self._daemon
        if link is None or link.welcome is None:
            link = self.connect()
        return link.welcome.endpoint if link.welcome is not None else ""

    @property
    def local(self) -> bool:
        """Whether the daemon is on this host."""
        return self._way.local

    # -- links -------------------------------------------------------------------------------------
    def connect(self, came: float | None = None) -> Link:
        """The link to the daemon, opened if needed; raises ``DaemonNotFound``, ``ConnectionLost``.

        ``came``: since when the caller waits for it.
        """
        link = self._daemon
        if link is not None and link.down is None:
            return link
        came = time.monotonic() if came is None else came
        with self._lock:
            link = self._daemon
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            if not self._way.is_listening():
                self._daemon = None
                raise DaemonNotFound(self._way.nobody(), endpoint=self.endpoint)
            dial = partial(dial_daemon, self._runtime, self.endpoint)
            self._daemon = self._once(
                self.endpoint, came, lambda: self._open(self.endpoint, dial, CONNECT_TIMEOUT_S)
            )
            self.reader.trusted = self._way.is_trusted()
            return self._daemon

    @property
    def is_connected(self) -> bool:
        """Whether the daemon has been met, and the connection holds as far as is known."""
        link = self._daemon
        return link is not None and link.down is None

    def takes_code(self) -> bool:
        """Whether the daemon takes more than plain data from this process; connects to be told."""
        link = self._daemon
        if link is None or link.welcome is None:
            try:
                link = self.connect()
            except AgentdError:
                return True  # told by whatever is sent next
        return link.welcome is None or link.welcome.takes_code

    def _once(self, endpoint: str, came: float, meet: Callable[[], Link]) -> Link:
        """Meet the peer. Who waited for somebody else to do so, and ``came`` before, fails too."""
        at, refusal = self._refused.get(endpoint, (0.0, None))
        # Only just now: who has waited for long for something else finds out anew.
        if refusal is not None and at >= came and time.monotonic() - at < SHARED_S:
            raise type(refusal)(refusal.message, **refusal.facts)
        try:
            link = meet()
        except AgentdError as error:
            self._refused[endpoint] = time.monotonic(), error
            raise
        self._refused.pop(endpoint, None)
        return link

    def _open(self, endpoint: str, dial: Callable[[float], Any], timeout: float) -> Link:
        """A connection that breaks meanwhile is made again, within the time."""
        deadline = time.monotonic() + timeout
        for attempt in itertools.count():
            try:
                port = dial(max(0.0, deadline - time.monotonic()))
                pump = self._runtime.pump
                link = Link(port, endpoint, pump.arm, self._clock, watch=pump.watch)
                link.open(self._hello, max(0.0, deadline - time.monotonic()))
            except LinkDown as error:
                pause = backoff(attempt)
                if time.monotonic() + pause > deadline:
                    raise ConnectionLost(error.message, endpoint=endpoint) from None
                time.sleep(pause)
            else:
                break
        return link

    def _hello(self, number: int) -> Hello:
        mine = local_versions()
        return Hello(
            number,
            PROTOCOL,
            mine.agentd,
            mine.python,
            self._runtime.session,
            os.getpid(),
            host_identity(),
            process_start(os.getpid()),
            mine.dill,
        )

    def worker(self, place: Ready, came: float | None = None) -> Link:
        """The way to a worker: its own socket, else the daemon.

        Raises ``LinkDown`` if it is gone, ``ConnectionLost`` if it stands still. ``came``: see
        ``connect``.
        """
        address = place.address
        link = self._workers.get(address)
        if link is not None and link.down is None:
            return link
        came = time.monotonic() if came is None else came
        with self._lock:
            link = self._workers.get(address)
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            relayed = address in self._workers and link is None
            if relayed or not self.direct or self._avoided.get(address, 0.0) > time.monotonic():
                return self.connect(came)
            if not rundir.is_listening(rundir.worker_path(address)):
                if link is not None:  # it was there once: it is gone, not out of reach
                    del self._workers[address]
                    raise LinkDown("the worker is gone", endpoint=address, sent=False)
                self._workers[address] = None
                return self.connect(came)
            return self._once(address, came, lambda: self._meet_worker(place))

    def _meet_worker(self, place: Ready) -> Link:
        address = place.address
        doubted = address in self._doubted
        self._doubted.discard(address)
        timeout = DOUBTED_TIMEOUT_S if doubted else WORKER_TIMEOUT_S
        try:
            dial = partial(dial_worker, address)
            opened = self._workers[address] = self._open(address, dial, timeout)
        except DaemonNotFound as error:
            if error.facts.get("silent"):
                return self._around(place, known_well=doubted)
            raise LinkDown(error.message, endpoint=address, sent=False) from None
        except ConnectionLost as error:  # it died while we came
            raise LinkDown(error.message, endpoint=address, sent=False) from None
        return opened

    def _around(self, place: Ready, *, known_well: bool) -> Link:
        """A worker does not answer: if it is well, or busy, the daemon relays for a while."""
        if not known_well:
            self._ask_about(place)
        self._avoided[place.address] = time.monotonic() + AVOID_S
        return self.connect()

    def _ask_about(self, place: Ready) -> None:
        """Raises ``ConnectionLost`` if the daemon finds the worker neither well nor busy."""
        deadline = time.monotonic() + WORKER_TIMEOUT_S
        try:
            self.request(lambda n: Vouch(n, place.worker), deadline=deadline)
        except CallTimeout:
            raise ConnectionLost(
                f"neither worker {place.worker} nor the daemon answers", endpoint=self.endpoint
            ) from None

    # -- requests to the daemon --------------------------------------------------------------------
    def request(
        self,
        make: Callable[[int], Message],
        payload: Sequence[Any] = (),
        deadline: float | None = None,
    ) -> tuple[Message, Sequence[Any]]:
        """Ask the daemon and wait for the answer; a broken connection is tried anew once."""
        for attempt in (1, 2):
            link = self.connect()
            try:
                return link.wait(link.submit(make, payload), deadline).outcome()
            except LinkDown as error:
                if attempt == 2 or error.facts.get("sent"):
                    raise ConnectionLost(error.message, endpoint=self.endpoint) from None
        raise AssertionError("the second attempt returned or raised")

    def ask(self, what: str, **params: Any) -> Any:
        """Administration; the answer's data."""
        wait = params.get("wait", 0.0)
        deadline = time.monotonic() + 30.0 + wait
        message, payload = self.request(
            lambda n: Ask(n, what, params, self._now()), deadline=deadline
        )
        if not isinstance(message, Answer) or not payload:
            raise ProtocolError(f"the daemon answered {message.kind!r} to a question")
        return msgpack.unpackb(payload[0], strict_map_key=False)

    def _now(self) -> float:
        """The daemon's clock, as far as known."""
        daemon = self._daemon
        return time.monotonic() + (0.0 if daemon is None else daemon.ahead)

    def ask_later(
        self, make: Callable[[int], Message], callback: Callable[[Pending], None]
    ) -> None:
        """Ask the daemon; ``callback`` gets the settled request. Never waits for a connection."""
        link = self._daemon
        if link is not None and link.down is None:
            link.submit(make, (), callback)
        else:
            self.aside(self.endpoint, partial(self._connect_and_ask, make, callback))

    def _connect_and_ask(
        self, make: Callable[[int], Message], callback: Callable[[Pending], None]
    ) -> None:
        try:
            self.connect().submit(make, (), callback)
        except AgentdError as error:
            callback(Pending.failed(error))
        except Exception as error:  # noqa: BLE001 - out of descriptors, say: here nobody sees it
            callback(
                Pending.failed(ConnectionLost(f"cannot connect: {error}", endpoint=self.endpoint))
            )

    def aside(self, peer: str, step: Callable[[], None]) -> None:
        """Do what may have to wait for a connection to ``peer`` in a thread made for it."""
        self._runtime.aside.do(peer, step)

    # -- agents ------------------------------------------------------------------------------------
    def create(
        self, create: Callable[..., Create], encoded: Encoded, bundle: Bundle | None = None
    ) -> Creation:
        """Send it, after the code it needs; the open request, settled when the agent is ready."""
        payload = [encoded.head, *encoded.buffers]

        def make(number: int) -> Create:
            return create(number, at=self._now(), plain=not self.reader.trusted)

        def send(*, anew: bool = True) -> Creation:
            for attempt in range(MOVES):
                if bundle is not None:
                    self.shipping.offer(bundle, anew=anew or attempt > 0)
                link = self.connect()
                try:
                    return Creation(link, link.submit(make, payload), send)
                except LinkDown:
                    time.sleep(backoff(attempt))
            raise self._broke_often("creation")

        return send(anew=False)

    def _broke_often(self, what: str) -> ConnectionLost:
        return ConnectionLost(
            f"the connection to {self.endpoint} broke {MOVES} times during the {what}",
            endpoint=self.endpoint,
        )

    def wait_accepted(self, creation: Creation) -> tuple[Creation, bytes, bool]:
        """Wait until the daemon took the agent: its id, and whether it existed already."""
        deadline = time.monotonic() + 30.0
        for attempt in range(MOVES):
            link, pending, again = creation
            try:
                link.wait(pending, deadline, lambda p: p.accepted is not None or p.done)
                if pending.accepted is not None:
                    return creation, pending.accepted.agent, pending.accepted.existing
                pending.outcome()
                raise ProtocolError("the daemon did not say that it accepted the agent")
            except (LinkDown, TooLate):  # as in ``settle``
                time.sleep(backoff(attempt))
                creation = again()
        raise self._broke_often("creation")

    def settle(self, agent: bytes, creation: Creation, deadline: float | None) -> Ready:
        """Wait until a created agent is ready; raises ``AgentCreationError`` and others."""
        for attempt in range(MOVES):
            link, pending, again = creation
            if link is not self._daemon and not pending.done:  # made before a fork, by the parent
                return self.locate(agent, deadline=deadline)
            try:
                return self.located(pending if pending.done else link.wait(pending, deadline))
            except (LinkDown, TooLate):  # the daemon may have taken it, or not; or it was behind
                time.sleep(backoff(attempt))
                creation = again()
        raise self._broke_often("creation")

    def locate(
        self,
        agent: bytes | None = None,
        name: str | None = None,
        deadline: float | None = None,
        came: float | None = None,
    ) -> Ready:
        """Ask where an agent is; waits until it is ready. ``came``: see ``connect``."""
        why = ""
        for attempt in range(MOVES):
            link = self.connect(came)
            try:
                pending = link.submit(lambda n: Locate(n, agent, name))
                return self.located(link.wait(pending, deadline))
            except LinkDown as error:
                came = None
                why = error.message
                time.sleep(backoff(attempt))
        raise ConnectionLost(why, endpoint=self.endpoint)

    def locate_later(self, agent: bytes, callback: Callable[[Pending], None]) -> None:
        """Ask where an agent is; ``callback`` gets the request to give to ``located``."""
        self.ask_later(lambda n: Locate(n, agent), callback)

    def find(self, agent: bytes, creation: Creation | None, attempt: int = 0) -> None:
        """Find out where the agent is and have its line move, with the settled request."""
        if creation is not None and creation.link is not self._daemon and not creation.pending.done:
            creation = None  # made before a fork, by the parent
        move = partial(self._found, agent, creation, attempt)
        try:
            if creation is None:
                self.locate_later(agent, move)
            else:
                creation.link.when_done(creation.pending, move)
        except AgentdError as error:
            move(error)

    def _find_again(self, agent: bytes, creation: Creation | None, attempt: int) -> None:
        """As the connection broke, or the daemon was behind; those who wait stay in their line."""
        try:
            self.find(agent, None if creation is None else creation.again(), attempt)
        except AgentdError as error:
            self.lines.move(agent, error)

    def _found(
        self, agent: bytes, creation: Creation | None, attempt: int, found: Pending | AgentdError
    ) -> None:
        failure = found.failure if isinstance(found, Pending) else found
        if isinstance(failure, (LinkDown, TooLate)) and attempt < MOVES:
            args = (agent, creation, attempt + 1)
            timer = threading.Timer(backoff(attempt), self._find_again, args)
            timer.daemon = True
            timer.start()
        else:
            self._move(agent, found)

    def _move(self, agent: bytes, found: Pending | AgentdError) -> None:
        """Have the agent's line move; where its worker has to be met first, not in this thread."""
        place = found.message if isinstance(found, Pending) else None
        move = partial(self.lines.move, agent, found)
        if isinstance(place, Ready) and not self.is_open(place.address):
            self.aside(place.address, move)
        else:
            move()

    def located(self, pending: Pending) -> Ready:
        """The outcome of a settled ``create`` or ``locate``; raises why the agent is nowhere."""
        try:
            message, _payload = pending.outcome()
        except AgentCreationError as error:
            raise self._with_cause(error, pending) from error.__cause__
        if not isinstance(message, Ready):
            raise ProtocolError(
                f"the daemon answered {message.kind!r} where an agent was asked for"
            )
        self._places[message.agent] = message
        return message

    def _with_cause(self, error: AgentCreationError, pending: Pending) -> AgentCreationError:
        """The error with the original exception, as this process can rebuild it, as its cause."""
        message = pending.message
        if isinstance(message, Error):
            facts = dict(message.facts.get("cause") or {})
            error.__cause__ = self.reader.decode_error(
                facts,
                message.codec,
                pending.payload or (),
                references.received(direct=self.direct, session=self),
            )
            error.facts = {k: v for k, v in error.facts.items() if k not in ("cause", "codec")}
        return error

    def known_place(self, agent: bytes) -> Ready | None:
        """Where the agent is, if that is known here."""
        return self._places.get(agent)

    def place(self, agent: bytes, deadline: float | None = None) -> Ready:
        """Where the agent is, as far as known; else ask. After the calls that wait for that."""
        came = time.monotonic()
        left = None if deadline is None else max(0.0, deadline - came)
        if not self.lines.wait(agent, left):
            raise CallTimeout("the agent was not found in time")
        return self._places.get(agent) or self.locate(agent, deadline=deadline, came=came)

    def is_connected_for(self, agent: bytes) -> bool:
        """Whether a call of that agent can be sent without waiting for a connection."""
        place = self._places.get(agent)
        return place is not None and self.is_open(place.address)

    def is_open(self, address: str) -> bool:
        """Whether ``worker`` gives the way to it without waiting for a connection."""
        link = self._workers.get(address)
        if link is None and (address in self._workers or not self.direct):
            link = self._daemon
        return link is not None and link.down is None

    # -- calls -------------------------------------------------------------------------------------
    def call(self, out: Outgoing) -> tuple[str, Sequence[Any]]:
        """Make the call and wait; the codec and payload of its result.

        Raises what the agent raised; ``AgentCrashed``, ``AgentNotFound``, ``ConnectionLost``,
        ``CallTimeout``.
        """
        maker = out.maker
        if maker is None:
            return self._call(out)
        maker.adopt(out.key, lambda: self.cancel(out.agent, out.key), out.needs)
        try:
            with maker.waits(out.key, out.needs):
                return self._call(out)
        finally:
            maker.disown(out.key)

    def _call(self, out: Outgoing) -> tuple[str, Sequence[Any]]:
        sent: Ready | None = None
        breaks = Breaks()
        while True:
            came = time.monotonic()
            try:
                place = sent or self.place(out.agent, out.deadline)
            except CallTimeout:
                raise out.timed_out("agent") from None
            try:
                message, answer = self._call_at(place, out, came, again=sent is not None)
            except LinkDown as error:
                if error.facts.get("sent"):
                    sent = place
                self._after_a_break(breaks, place, was_sent=sent is not None)
            except (AgentNotFound, TooLate) as error:
                if not is_elsewhere(error):
                    raise
                self.forget(place)
                if sent is not None:
                    raise self.fate(place) from None
                if not breaks.one_more():
                    raise
                if breaks.number > 1:
                    time.sleep(breaks.pause)
            else:
                return self._value(message, answer)

    def _after_a_break(self, breaks: Breaks, place: Ready, *, was_sent: bool) -> None:
        """Pause before the call is sent again; raises if that has no use."""
        if was_sent and not self.is_there(place):
            self.forget(place)
            raise self.fate(place)
        if not was_sent:
            self.forget(place)  # ask where the agent is now; the daemon may not know yet either
        if not breaks.one_more():
            raise ConnectionLost(
                f"the connection to {place.cls} broke {breaks.number} times in quick succession",
                endpoint=self.endpoint,
                agent=show(place.agent),
            )
        if was_sent or breaks.number > 1:
            time.sleep(breaks.pause)

    def _value(self, message: Message, answer: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        if isinstance(message, Error):
            raise self.raised(message, answer)
        if isinstance(message, Accepted):
            return "", ()
        if not isinstance(message, Result):
            raise ProtocolError(f"a call was answered with {message.kind!r}")
        return message.codec, answer

    def is_there(self, place: Ready) -> bool:
        """Whether the worker still listens, or the daemon that relays for it."""
        relayed = place.address in self._workers and self._workers[place.address] is None
        if relayed or not self.direct:
            return self._way.is_listening()
        return rundir.is_listening(rundir.worker_path(place.address))

    def _call_at(
        self, place: Ready, out: Outgoing, came: float, *, again: bool
    ) -> tuple[Message, Sequence[Any]]:
        # The worker tells when the deadline is over; we do so only if it does not.
        deadline = None if out.deadline is None else out.deadline + LATE_S
        try:
            link = self.worker(place, came)
            plain = not self.reader.trusted
            make = partial(out.message, place.epoch, link.ahead, again=again, plain=plain)
            pending = link.submit(make, out.payload)
            return link.wait(pending, deadline, fresh=True).outcome()
        except DaemonNotFound as error:
            if again:
                raise ConnectionLost(error.message, endpoint=self.endpoint) from None
            raise
        except CallTimeout as error:
            if error.facts.get("agent"):
                raise
            self.cancel(out.agent, out.key)
            raise out.timed_out(place.cls) from None
        except (KeyboardInterrupt, SystemExit):
            self.cancel(out.agent, out.key)
            raise

    def cancel(self, agent: bytes, key: bytes) -> None:
        """Have the worker give a call up, if it can be reached."""
        if not self.alive:
            return  # the call of the process that we were forked from
        link = self._open_link(agent)
        if link is not None:
            link.tell(Cancel(agent, key))

    def _open_link(self, agent: bytes) -> Link | None:
        """A connection over which the agent can be told something, if there is one now.

        Where its place is not known any more, the daemon's: it passes on what is told.
        """
        place = self._places.get(agent)
        link = None if place is None else self._workers.get(place.address)
        return self._daemon if link is None or link.down is not None else link

    def keep(self, agent: bytes, key: bytes) -> None:
        """The outcome is for others: it is to stay where it is made."""
        if not self.alive:
            return  # as below
        link = self._open_link(agent)
        if link is not None:
            link.tell(Keep(agent, [key]))

    def release(self, agent: bytes, key: bytes) -> None:
        """Nobody will fetch that outcome any more; told in batches, with the next heartbeat.

        The call has been sent: a worker forgets what it is told of calls that have not come.
        """
        if not self.alive:
            return  # it is the result of the process that we were forked from
        with self._release_lock:
            keys = self._released.setdefault(agent, [])
            keys.append(key)
            if len(keys) < RELEASES:
                return
            del self._released[agent]
        self._tell_released(agent, keys)

    def _tell_released(self, agent: bytes, keys: list[bytes]) -> None:
        link = self._open_link(agent)
        if link is not None:
            link.tell(Release(agent, keys))

    def forget(self, place: Ready) -> None:
        """The agent is not there (any more)."""
        if self._places.get(place.agent) is place:
            self._places.pop(place.agent, None)

    def fate(self, place: Ready) -> AgentdError:
        """What became of a call whose connection broke."""
        try:
            self.request(
                lambda n: Fate(n, place.agent, place.epoch), deadline=time.monotonic() + 10.0
            )
        except CallTimeout:
            return ConnectionLost("the daemon does not answer", endpoint=self.endpoint)
        except DaemonNotFound as error:
            return self._gone(place, error)
        except AgentdError as error:
            return error
        return ConnectionLost("the connection broke during the call", endpoint=self.endpoint)

    def _gone(self, place: Ready, error: DaemonNotFound) -> ConnectionLost:
        return ConnectionLost(
            f"the daemon at {self.endpoint} is gone, and agent {place.cls} with it",
            endpoint=error.endpoint,
        )

    def fate_later(self, place: Ready, callback: Callable[[Pending], None]) -> None:
        """Ask what became of a call whose connection broke."""

        def told(pending: Pending) -> None:
            if isinstance(pending.failure, DaemonNotFound):
                pending.failure = self._gone(place, pending.failure)
            callback(pending)

        self.ask_later(lambda n: Fate(n, place.agent, place.epoch), told)

    def raised(self, message: Error, payload: Sequence[Any]) -> BaseException:
        """The exception that the agent's code raised, as this process can rebuild it."""
        refs = references.received(direct=self.direct, session=self)
        return self.reader.decode_error(message.facts, message.codec, payload, refs)

    def ping(self, agent: bytes | None = None) -> float:
        """Seconds to the daemon, or to the worker of an agent, and back."""
        link = self.connect() if agent is None else self.worker(self.place(agent))
        started = time.perf_counter()
        try:
            link.wait(link.submit(Ping), time.monotonic() + CONNECT_TIMEOUT_S).outcome()
        except LinkDown as error:
            raise ConnectionLost(error.message, endpoint=link.endpoint) from None
        return time.perf_counter() - started

    # -- staying and leaving -----------------------------------------------------------------------
    def beat(self, now: float) -> None:
        """Called by the pump: keep the lease, notice the silent. Does not block."""
        for sending in list(self.limited):
            sending.expire(now)
        daemon = self._daemon
        if daemon is None or daemon.welcome is None:
            return
        self._forget_the_dead()
        if daemon.down is not None:
            if self._may_be_back(now):  # it is back, or it was the connection: the lease
                self._return()
            return
        self._knocks.heard()
        with self._release_lock:
            released, self._released = self._released, {}
        for agent, keys in released.items():
            self._tell_released(agent, keys)
        paused = now - self._beaten > PAUSE_S
        self._beaten = now
        for link in [daemon, *list(self._workers.values())]:
            if link is not None and link.down is None:
                self._look_after(link, daemon.welcome, now, paused=paused)

    def _look_after(self, link: Link, told: Welcome, now: float, *, paused: bool) -> None:
        beat = told.heartbeat_s
        if link.pinged is None:
            quiet = QUIET_BEATS * beat if link.waiting else min(told.grace_s / 3, 10 * beat)
            if now - link.heard >= quiet:
                link.ping()
        elif paused:
            link.excuse(now)
        elif now - link.pinged > patience(beat):
            # Counted from the ping: nothing had to come before it, however long that was.
            self._silent(link, now, beat)

    def _silent(self, link: Link, now: float, beat: float) -> None:
        since = now - link.heard
        daemon, welcome = self._daemon, link.welcome
        if daemon is None or daemon is link or welcome is None:
            told = f"the daemon at {self.endpoint} has been silent for {since:.1f} s"
            link.fail(told, for_good=True)
            return
        told = f"worker {welcome.node} has been silent for {since:.1f} s"
        if link.doubted is None:
            link.doubted = now
            try:
                make = partial(Vouch, worker=welcome.node)
                daemon.submit(make, (), partial(self._vouched, link, told))
            except LinkDown:
                link.fail(told, for_good=True)
        elif now - link.doubted > patience(beat):
            link.fail(f"{told}, and so has the daemon", for_good=True)

    def _vouched(self, link: Link, told: str, pending: Pending) -> None:
        message, failure = pending.message, pending.failure
        if link.doubted is None:
            return  # it has answered by now
        if isinstance(message, Vouched) and message.state == "busy":
            link.excuse(self._clock())
        elif isinstance(message, Vouched):  # it is well: the connection is not
            self._doubted.add(link.endpoint)
            link.fail(told)
        else:
            link.fail(f"{told}; {failure.message if failure else ''}", for_good=True)

    def _may_be_back(self, now: float) -> bool:
        """Whether to look for the daemon: where that means to knock, not at every beat."""
        refused, _why = self._refused.get(self.endpoint, (0.0, None))
        rested = now - refused > RETURN_S and self._knocks.due(now)
        return (self._way.local or rested) and self._way.is_listening()

    def _return(self) -> None:
        """Connect to the daemon again; it may listen and yet not answer for seconds."""
        if not self._runtime.aside.busy(self.endpoint):
            self.aside(self.endpoint, self._connect_if_possible)

    def _connect_if_possible(self) -> None:
        link = self._daemon
        try:
            self.connect()
        except AgentdError:
            if link is not None and link.welcome is not None:
                self._knocks.unheard(self._clock(), link.welcome.grace_s)

    def _forget_the_dead(self) -> None:
        """Workers that are gone, and where their agents were: addresses are never used again."""
        if not self._lock.acquire(blocking=False):
            return  # somebody connects just now; there will be another heartbeat
        try:
            used = {place.address for place in list(self._places.values())}
            for address, link in list(self._workers.items()):
                if link is None and address in used:
                    continue  # the daemon relays; it tells when the worker is gone
                if link is not None and (link.down is None or _listens(address)):
                    continue
                del self._workers[address]
                self._doubted.discard(address)
                if link is not None:
                    link.close()
                for place in [p for p in list(self._places.values()) if p.address == address]:
                    self.forget(place)
        finally:
            self._lock.release()

    @property
    def prefix(self) -> bytes:
        """With what the keys of this process's calls begin."""
        return self._runtime.session

    def close(self) -> None:
        """Say good-bye: agents that live as long as their client end."""
        self.alive = False
        with self._lock:
            daemon, self._daemon = self._daemon, None
            workers, self._workers = self._workers, {}
        if daemon is not None:
            daemon.tell(Bye())
            daemon.close(linger_ms=500)
        for link in workers.values():
            if link is not None:
                link.close()
        self._places.clear()


def is_elsewhere(error: AgentdError) -> bool:
    """Whether the call was provably not started where it was sent, and may be sent anew."""
    return isinstance(error, TooLate) or bool(error.facts.get("moved"))


def _listens(address: str) -> bool:
    return rundir.is_listening(rundir.worker_path(address))
