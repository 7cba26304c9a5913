"""One client process and one daemon: the calls of its agents, and what is told of them.

Calls go to the worker that hosts the agent, whose address ``places`` knows; ``workers`` has the way
there, which is the daemon where that address cannot be reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agentd.client import references
from agentd.client.breaks import Breaks
from agentd.client.daemon import CONNECT_TIMEOUT_S, Daemon
from agentd.client.heartbeats import Heartbeats
from agentd.client.link import Link
from agentd.client.meeting import Meetings
from agentd.client.orders import Orders
from agentd.client.pending import LinkDown
from agentd.client.places import Places
from agentd.client.pump import BEAT_S
from agentd.client.releases import Releases
from agentd.client.workers import Workers
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    CallTimeout,
    ConnectionLost,
    DaemonNotFound,
    ProtocolError,
    TooLate,
)
from agentd.ids import show
from agentd.protocol.messages import (
    Accepted,
    Cancel,
    Error,
    Keep,
    Message,
    Ping,
    Ready,
    Result,
)

if TYPE_CHECKING:
    from agentd.client.outgoing import Outgoing
    from agentd.client.runtime import Runtime
    from agentd.client.sending import Sending

__all__ = ["LATE_S", "Session", "is_elsewhere"]

LATE_S = 0.5
"""How much later than a call's deadline the caller itself gives up: a worker answers before."""


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
        self.alive = True
        """Neither closed, nor of the process that this one was forked from."""
        self.prefix = runtime.session
        """With what the keys of this process's calls begin."""
        meetings = Meetings(runtime, clock)
        self.daemon = Daemon(runtime, endpoint, meetings)
        direct = direct and self.daemon.local
        self.workers = Workers(runtime, self.daemon, meetings, direct=direct)
        self.places = Places(self.daemon, self.workers)
        self.orders = Orders(self.daemon)
        self.heartbeats = Heartbeats(
            runtime, self.daemon, self.workers, self.places, meetings, clock
        )
        self.limited: set[Sending] = set()
        """Open calls with a deadline that nobody waits for in a thread."""
        self.releases = Releases(self._open_link)

    def is_connected_for(self, agent: bytes) -> bool:
        """Whether a call of that agent can be sent without waiting for a connection."""
        place = self.places.known(agent)
        return place is not None and self.workers.is_open(place)

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
        breaks: Breaks | None = None
        while True:
            came = time.monotonic()
            try:
                place = sent or self.places.of(out.agent, out.deadline)
            except CallTimeout:
                raise out.timed_out("agent") from None
            try:
                message, answer = self._call_at(place, out, came, again=sent is not None)
            except LinkDown as error:
                if error.facts.get("sent"):
                    sent = place
                breaks = breaks or Breaks()
                self._after_a_break(breaks, place, was_sent=sent is not None)
            except (AgentNotFound, TooLate) as error:
                if not is_elsewhere(error):
                    raise
                self.places.forget(place)
                if sent is not None:
                    raise self.daemon.fate(place) from None
                breaks = breaks or Breaks()
                if not breaks.one_more():
                    raise
                if breaks.number > 1:
                    time.sleep(breaks.pause)
            else:
                return self._value(message, answer)

    def _after_a_break(self, breaks: Breaks, place: Ready, *, was_sent: bool) -> None:
        """Pause before the call is sent again; raises if that has no use."""
        if was_sent and not self.workers.is_there(place):
            self.places.forget(place)
            raise self.daemon.fate(place)
        if not was_sent:
            # Ask where the agent is now; the daemon may not know yet either.
            self.places.forget(place)
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

    def _call_at(
        self, place: Ready, out: Outgoing, came: float, *, again: bool
    ) -> tuple[Message, Sequence[Any]]:
        # The worker tells when the deadline is over; we do so only if it does not.
        deadline = None if out.deadline is None else out.deadline + LATE_S
        try:
            link = self.workers.link(place, came, out.needs)
            plain = not self.daemon.reader.trusted
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
        link = self._open_link(agent)
        if link is not None:
            link.tell(Cancel(agent, key))
        # One that needs results may have gone by the daemon, and still be on its way.
        relay = self.daemon.link
        if relay is not None and relay is not link and self.workers.relays_some:
            relay.tell(Cancel(agent, key))

    def _open_link(self, agent: bytes) -> Link | None:
        """A connection over which the agent can be told something, if there is one now.

        Where its place is not known any more, the daemon's: it passes on what is told.
        """
        if not self.alive:
            return None  # it is about a call of the process that we were forked from
        place = self.places.known(agent)
        link = None if place is None else self.workers.links.get(place.address)
        return self.daemon.link if link is None or link.down is not None else link

    def keep(self, agent: bytes, key: bytes) -> None:
        """The outcome is for others: it is to stay where it is made."""
        link = self._open_link(agent)
        if link is not None:
            link.tell(Keep(agent, [key]))

    def raised(self, message: Error, payload: Sequence[Any]) -> BaseException:
        """The exception that the agent's code raised, as this process can rebuild it."""
        refs = references.received(direct=self.workers.direct, daemon=self.daemon)
        return self.daemon.reader.decode_error(message.facts, message.codec, payload, refs)

    def ping(self, agent: bytes | None = None) -> float:
        """Seconds to the daemon, or to the worker of an agent, and back."""
        for attempt in (1, 2):
            link = self._way(agent)
            started = time.perf_counter()
            try:
                link.wait(link.submit(Ping), time.monotonic() + CONNECT_TIMEOUT_S).outcome()
            except LinkDown as error:
                # One that broke unseen, while this process was suspended, say, is no answer yet.
                if attempt == 2:
                    raise ConnectionLost(error.message, endpoint=link.endpoint) from None
            else:
                break
        return time.perf_counter() - started

    def _way(self, agent: bytes | None) -> Link:
        """To the daemon, or to where an agent is."""
        if agent is None:
            return self.daemon.connect()
        return self.workers.link(self.places.of(agent))

    # -- staying and leaving -----------------------------------------------------------------------
    def beat(self, now: float) -> float:
        """Called by the pump: keep the lease, notice the silent. Does not block.

        In how many seconds it is to be called again.
        """
        for sending in list(self.limited):
            sending.expire(now)
        if self.heartbeats.beat(now):
            self.releases.tell()
        return BEAT_S if self.limited else self.heartbeats.rest_s

    def close(self) -> None:
        """Say good-bye: agents that live as long as their client end."""
        self.alive = False
        self.daemon.leave()
        self.workers.close()
        self.places.clear()


def is_elsewhere(error: AgentdError) -> bool:
    """Whether the call was provably not started where it was sent, and may be sent anew."""
    return isinstance(error, TooLate) or bool(error.facts.get("moved"))
