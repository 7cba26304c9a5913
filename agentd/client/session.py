"""One client process and one daemon: finding agents, making them, calling them.

Requests to the daemon go over its link; calls go to the worker that hosts the agent, whose address
is kept in ``_places``, or through the daemon where that address cannot be reached.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from agentd import serialization
from agentd.client import references
from agentd.client.lines import Lines
from agentd.client.link import Link, LinkDown, Pending
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
from agentd.serialization import Encoded
from agentd.transport import rundir
from agentd.transport.process import host_identity, process_start

if TYPE_CHECKING:
    from agentd.client.outgoing import Outgoing
    from agentd.client.results import Sending
    from agentd.client.runtime import Runtime

__all__ = ["LATE_S", "MOVES", "Session", "backoff", "is_elsewhere"]

CONNECT_TIMEOUT_S = 3.0
"""How long a daemon may take to answer ``hello``; it does so before anything else."""
WORKER_TIMEOUT_S = 1.75
"""How long a worker may take, before the daemon is asked about it."""
AVOID_S = 5.0
"""How long the daemon relays for a worker that did not answer."""
PAUSE_S = 1.0
"""Beats this far apart tell that this process itself stood still, not its peers."""
MOVES = 5
"""How often a call follows an agent that moved before it gives up."""
LATE_S = 0.5
"""How much later than a call's deadline the caller itself gives up: a worker answers before."""
RELEASES = 64
"""Releases told at once, at most."""


class Session:
    """This process's dealings with one daemon. Every method may be called from any thread."""

    def __init__(self, runtime: Runtime, endpoint: str, *, direct: bool = True) -> None:
        self.endpoint = endpoint
        self._runtime = runtime
        self._pid = os.getpid()
        self.direct = direct
        self._lock = threading.RLock()  # protects the links and places
        self._daemon: Link | None = None
        self._workers: dict[str, Link | None] = {}
        """By address; ``None``: not to be reached from here, the daemon relays."""
        self._avoided: dict[str, float] = {}
        """Workers that did not answer, by address: until when the daemon relays for them."""
        self._beaten = time.monotonic()
        self._places: dict[bytes, Ready] = {}
        self.lines = Lines()
        self.limited: set[Sending] = set()
        """Open calls with a deadline that nobody waits for in a thread."""
        self._release_lock = threading.Lock()  # protects the next
        self._released: dict[bytes, list[bytes]] = {}
        self._path = rundir.ipc_path(endpoint)

    # -- links -------------------------------------------------------------------------------------
    def connect(self) -> Link:
        """The link to the daemon, opened if needed; raises ``DaemonNotFound``."""
        link = self._daemon
        if link is not None and link.down is None:
            return link
        with self._lock:
            link = self._daemon
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            if not rundir.is_listening(self._path):
                self._daemon = None
                raise DaemonNotFound(
                    f"no daemon listens on {self.endpoint}; start one with: agentd serve",
                    endpoint=self.endpoint,
                )
            self._daemon = self._open(self.endpoint, CONNECT_TIMEOUT_S)
            return self._daemon

    def _open(self, endpoint: str, timeout: float) -> Link:
        link = Link(self._runtime.context, endpoint, self._runtime.pump.arm)
        link.open(self._hello, timeout)
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

    def worker(self, place: Ready) -> Link:
        """The way to a worker: its own socket, else the daemon.

        Raises ``LinkDown`` if it is gone, ``ConnectionLost`` if it stands still.
        """
        address = place.address
        link = self._workers.get(address)
        if link is not None and link.down is None:
            return link
        with self._lock:
            link = self._workers.get(address)
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            relayed = address in self._workers and link is None
            if relayed or not self.direct or self._avoided.get(address, 0.0) > time.monotonic():
                return self.connect()
            if not rundir.is_listening(rundir.ipc_path(address)):
                if link is not None:  # it was there once: it is gone, not out of reach
                    del self._workers[address]
                    raise LinkDown("the worker is gone", endpoint=address, sent=False)
                self._workers[address] = None
                return self.connect()
            try:
                opened = self._workers[address] = self._open(address, WORKER_TIMEOUT_S)
            except DaemonNotFound as error:
                if error.facts.get("silent"):
                    return self._around(place)
                raise LinkDown(error.message, endpoint=address, sent=False) from None
            except LinkDown as error:  # it died while we came
                raise LinkDown(error.message, endpoint=address, sent=False) from None
            return opened

    def _around(self, place: Ready) -> Link:
        """A worker does not answer: if it is well, or busy, the daemon relays for a while."""
        deadline = time.monotonic() + WORKER_TIMEOUT_S
        try:
            self.request(lambda n: Vouch(n, place.worker), deadline=deadline)
        except CallTimeout:
            raise ConnectionLost(
                f"neither worker {place.worker} nor the daemon answers", endpoint=self.endpoint
            ) from None
        self._avoided[place.address] = time.monotonic() + AVOID_S
        return self.connect()

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
        """Ask the daemon; ``callback`` gets the settled request."""
        self.connect().submit(make, (), callback)

    # -- agents ------------------------------------------------------------------------------------
    def create(self, create: Callable[..., Create], encoded: Encoded) -> tuple[Link, Pending]:
        """Send it; the open request, settled when the agent is ready or failed."""
        payload = [encoded.head, *encoded.buffers]

        def make(number: int) -> Create:
            return create(number, at=self._now())

        link = self.connect()
        try:
            return link, link.submit(make, payload)
        except LinkDown:
            link = self.connect()
            return link, link.submit(make, payload)

    def wait_accepted(self, creation: tuple[Link, Pending]) -> tuple[bytes, bool]:
        """Wait until the daemon took the agent: its id, and whether it existed already."""
        link, pending = creation
        deadline = time.monotonic() + 30.0
        try:
            link.wait(pending, deadline, lambda p: p.accepted is not None or p.done)
        except LinkDown as error:
            raise ConnectionLost(error.message, endpoint=self.endpoint) from None
        if pending.accepted is not None:
            return pending.accepted.agent, pending.accepted.existing
        pending.outcome()
        raise ProtocolError("the daemon did not say that it accepted the agent")

    def settle(self, agent: bytes, creation: tuple[Link, Pending], deadline: float | None) -> Ready:
        """Wait until a created agent is ready; raises ``AgentCreationError`` and others."""
        link, pending = creation
        if link is not self._daemon and not pending.done:  # made before a fork, by the parent
            return self.locate(agent, deadline=deadline)
        try:
            return self.located(link.wait(pending, deadline))
        except LinkDown:
            return self.locate(agent, deadline=deadline)  # the daemon may have taken it

    def locate(
        self, agent: bytes | None = None, name: str | None = None, deadline: float | None = None
    ) -> Ready:
        """Ask where an agent is; waits until it is ready."""
        link = self.connect()
        try:
            pending = link.submit(lambda n: Locate(n, agent, name))
            return self.located(link.wait(pending, deadline))
        except LinkDown as error:
            raise ConnectionLost(error.message, endpoint=self.endpoint) from None

    def locate_later(self, agent: bytes, callback: Callable[[Pending], None]) -> None:
        """Ask where an agent is; ``callback`` gets the request to give to ``located``."""
        self.ask_later(lambda n: Locate(n, agent), callback)

    def find(self, agent: bytes, creation: tuple[Link, Pending] | None) -> None:
        """Find out where the agent is and have its line move, with the settled request."""
        move = partial(self.lines.move, agent)
        try:
            if creation is not None:
                link, pending = creation
                if link is self._daemon or pending.done:  # else made before a fork, by the parent
                    link.when_done(pending, move)
                    return
            self.locate_later(agent, move)
        except AgentdError as error:
            move(error)

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
            head, *buffers = pending.payload or (b"",)
            error.__cause__ = serialization.decode_error(
                facts, message.codec, head, buffers, refs=references.active()
            )
            error.facts = {k: v for k, v in error.facts.items() if k not in ("cause", "codec")}
        return error

    def known_place(self, agent: bytes) -> Ready | None:
        """Where the agent is, if that is known here."""
        return self._places.get(agent)

    def place(self, agent: bytes, deadline: float | None = None) -> Ready:
        """Where the agent is, as far as known; else ask. After the calls that wait for that."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self.lines.wait(agent, left):
            raise CallTimeout("the agent was not found in time")
        return self._places.get(agent) or self.locate(agent, deadline=deadline)

    def is_connected_for(self, agent: bytes) -> bool:
        """Whether a call of that agent can be sent without waiting for a connection."""
        place = self._places.get(agent)
        if place is None or self._daemon is None or self._daemon.down is not None:
            return False
        link = self._workers.get(place.address, self._daemon)
        return link is None or link.down is None

    # -- calls -------------------------------------------------------------------------------------
    def call(self, out: Outgoing) -> tuple[str, Sequence[Any]]:
        """Make the call and wait; the codec and payload of its result.

        Raises what the agent raised; ``AgentCrashed``, ``AgentNotFound``, ``ConnectionLost``,
        ``CallTimeout``.
        """
        maker = out.maker
        if maker is None:
            return self._call(out)
        maker.waits(out.key, begins=True)
        maker.adopt(out.key, lambda: self.cancel(out.agent, out.key))
        try:
            return self._call(out)
        finally:
            maker.disown(out.key)
            maker.waits(out.key, begins=False)

    def _call(self, out: Outgoing) -> tuple[str, Sequence[Any]]:
        sent: Ready | None = None
        for attempt in range(MOVES):
            try:
                place = sent or self.place(out.agent, out.deadline)
            except CallTimeout:
                raise out.timed_out("agent") from None
            try:
                message, answer = self._call_at(place, out, again=sent is not None)
            except LinkDown as error:
                if error.facts.get("sent"):
                    sent = place
                elif sent is None:
                    self.forget(place)
                    continue  # nothing was sent: ask where the agent is now
                if not self.is_there(place):
                    self.forget(place)
                    raise self.fate(place) from None
                time.sleep(backoff(attempt))  # the worker lives: ask it for the call again
                continue
            except (AgentNotFound, TooLate) as error:
                if not is_elsewhere(error):
                    raise
                self.forget(place)
                if sent is not None:
                    raise self.fate(place) from None
                continue
            return self._value(message, answer)
        raise ConnectionLost(
            f"the connection to {place.cls} broke {MOVES} times during the call",
            endpoint=self.endpoint,
            agent=out.agent.hex(),
        )

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
            return rundir.is_listening(self._path)
        return rundir.is_listening(rundir.ipc_path(place.address))

    def _call_at(
        self, place: Ready, out: Outgoing, *, again: bool
    ) -> tuple[Message, Sequence[Any]]:
        # The worker tells when the deadline is over; we do so only if it does not.
        deadline = None if out.deadline is None else out.deadline + LATE_S
        try:
            link = self.worker(place)
            make = partial(out.message, place.epoch, link.ahead, again=again)
            pending = link.submit(make, out.payload)
            return link.wait(pending, deadline).outcome()
        except DaemonNotFound as error:
            if again:
                raise LinkDown(error.message, endpoint=self.endpoint, sent=False) from None
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
        if self._pid != os.getpid():
            return  # the call of the process that we were forked from
        link = self._open_link(agent)
        if link is not None:
            link.tell(Cancel(agent, key))

    def _open_link(self, agent: bytes) -> Link | None:
        """A connection over which the agent can be told something, if there is one now."""
        place = self._places.get(agent)
        if place is None:
            return None
        link = self._workers.get(place.address)
        return self._daemon if link is None or link.down is not None else link

    def release(self, agent: bytes, key: bytes) -> None:
        """Nobody will fetch that outcome any more; told in batches, with the next heartbeat."""
        if self._pid != os.getpid():
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
            return ConnectionLost(
                f"the daemon at {self.endpoint} is gone, and agent {place.cls} with it",
                endpoint=error.endpoint,
            )
        except AgentdError as error:
            return error
        return ConnectionLost("the connection broke during the call", endpoint=self.endpoint)

    def fate_later(self, place: Ready, callback: Callable[[Pending], None]) -> None:
        """Ask what became of a call whose connection broke."""
        self.ask_later(lambda n: Fate(n, place.agent, place.epoch), callback)

    def raised(self, message: Error, payload: Sequence[Any]) -> BaseException:
        """The exception that the agent's code raised, as this process can rebuild it."""
        head, *buffers = payload or (b"",)
        refs = references.received(direct=self.direct)
        return serialization.decode_error(message.facts, message.codec, head, buffers, refs=refs)

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
        if daemon.down is not None:
            if rundir.is_listening(self._path):  # it is back, or it was the connection: the lease
                try:
                    self.connect()
                except AgentdError:
                    pass
            return
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
            link.excuse(time.monotonic())
        elif isinstance(message, Vouched):  # it is well: the connection is not
            link.fail(told)
        else:
            link.fail(f"{told}; {failure.message if failure else ''}", for_good=True)

    def close(self) -> None:
        """Say good-bye: agents that live as long as their client end."""
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


def backoff(attempt: int) -> float:
    """Seconds before a connection is made again: 0.02, 0.04, … to 1, with jitter."""
    delay = min(1.0, 0.02 * 2.0**attempt)
    return delay * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
