"""A daemon as its client sees it: the connection to it, and what is asked over that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from agentd.client.dialing import dial_daemon
from agentd.client.link import Link
from agentd.client.pending import LinkDown, Pending
from agentd.client.trust import Reader
from agentd.client.ways import way_to
from agentd.errors import AgentdError, CallTimeout, ConnectionLost, DaemonNotFound, ProtocolError
from agentd.protocol.messages import Answer, Ask, Bye, Fate, Message, Ready

if TYPE_CHECKING:
    from agentd.client.meeting import Meetings
    from agentd.client.runtime import Runtime

__all__ = ["CONNECT_TIMEOUT_S", "Daemon"]

CONNECT_TIMEOUT_S = 3.0
"""How long a daemon may take to answer ``hello``; it does so before anything else."""


class Daemon:
    """Every method may be called from any thread."""

    link: Link | None = None
    """The connection, if there was one; it may have broken."""

    def __init__(self, runtime: Runtime, endpoint: str, meetings: Meetings) -> None:
        """Raises ``ConfigError`` for what is no endpoint, or for a server that is not trusted."""
        self.endpoint = endpoint
        self.way = way_to(endpoint)
        self.local = self.way.local
        """Whether the daemon is on this host."""
        self.reader = Reader(endpoint, trusted=False)
        """Opens what comes from there. Whether it may run code is settled when they meet."""
        self._runtime = runtime
        self._meetings = meetings
        self._lock = threading.RLock()  # protects the connection

    @property
    def home(self) -> str:
        """By which endpoint the daemon's own agents know it; connects to be told."""
        link = self.link
        if link is None or link.welcome is None:
            link = self.connect()
        return link.welcome.endpoint if link.welcome is not None else ""

    @property
    def is_connected(self) -> bool:
        """Whether the daemon has been met, and the connection holds as far as is known."""
        link = self.link
        return link is not None and link.down is None

    def connect(self, came: float | None = None) -> Link:
        """The link to the daemon, opened if needed; raises ``DaemonNotFound``, ``ConnectionLost``.

        ``came``: since when the caller waits for it.
        """
        link = self.link
        if link is not None and link.down is None:
            return link
        came = time.monotonic() if came is None else came
        with self._lock:
            link = self.link
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            if not self.way.is_listening():
                self.link = None
                raise DaemonNotFound(self.way.nobody(), endpoint=self.endpoint)
            self.link = self._meetings.once(self.endpoint, came, self._meet)
            self.reader.trusted = self.way.is_trusted()
            return self.link

    def _meet(self) -> Link:
        dial = partial(dial_daemon, self._runtime, self.endpoint)
        return self._meetings.open(self.endpoint, dial, CONNECT_TIMEOUT_S)

    def takes_code(self) -> bool:
        """Whether the daemon takes more than plain data from this process; connects to be told."""
        link = self.link
        if link is None or link.welcome is None:
            try:
                link = self.connect()
            except AgentdError:
                return True  # told by whatever is sent next
        return link.welcome is None or link.welcome.takes_code

    def leave(self) -> None:
        """Say good-bye: agents that live as long as their client end."""
        with self._lock:
            link, self.link = self.link, None
        if link is not None:
            link.tell(Bye())
            link.close(linger_ms=500)

    # -- requests ----------------------------------------------------------------------------------
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
            lambda n: Ask(n, what, params, self.now()), deadline=deadline
        )
        if not isinstance(message, Answer) or not payload:
            raise ProtocolError(f"the daemon answered {message.kind!r} to a question")
        return msgpack.unpackb(payload[0], strict_map_key=False)

    def now(self) -> float:
        """The daemon's clock, as far as known."""
        link = self.link
        return time.monotonic() + (0.0 if link is None else link.ahead)

    def ask_later(
        self, make: Callable[[int], Message], callback: Callable[[Pending], None]
    ) -> None:
        """Ask the daemon; ``callback`` gets the settled request. Never waits for a connection."""
        link = self.link
        if link is not None and link.down is None:
            link.submit(make, (), callback)
        else:
            step = partial(self._connect_and_ask, make, callback)
            self._runtime.aside.do(self.endpoint, step)

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

    # -- what became of a call ---------------------------------------------------------------------
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

    def fate_later(self, place: Ready, callback: Callable[[Pending], None]) -> None:
        """Ask what became of a call whose connection broke."""

        def told(pending: Pending) -> None:
            if isinstance(pending.failure, DaemonNotFound):
                pending.failure = self._gone(place, pending.failure)
            callback(pending)

        self.ask_later(lambda n: Fate(n, place.agent, place.epoch), told)

    def _gone(self, place: Ready, error: DaemonNotFound) -> ConnectionLost:
        return ConnectionLost(
            f"the daemon at {self.endpoint} is gone, and agent {place.cls} with it",
            endpoint=error.endpoint,
        )
