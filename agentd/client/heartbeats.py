"""Keeping the lease at a daemon, and noticing who is silent, who is gone, and who is back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agentd.client.knocks import Knocks
from agentd.client.link import Link
from agentd.client.pending import LinkDown, Pending
from agentd.client.pump import BEAT_S, IDLE_S
from agentd.errors import AgentdError
from agentd.protocol import QUIET_BEATS, patience
from agentd.protocol.messages import Vouch, Vouched, Welcome

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon
    from agentd.client.meeting import Meetings
    from agentd.client.places import Places
    from agentd.client.runtime import Runtime
    from agentd.client.workers import Workers

__all__ = ["Heartbeats"]

RETURN_S = 2.0
"""How long a daemon elsewhere is left alone that could not be met, unless somebody needs it."""
PAUSE_S = 0.75
"""A beat that comes so late tells that this process itself stood still, not its peers."""


class Heartbeats:
    """Those of one daemon and its workers; in the pump's thread, which they do not hold up."""

    def __init__(
        self,
        runtime: Runtime,
        daemon: Daemon,
        workers: Workers,
        places: Places,
        meetings: Meetings,
        clock: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._daemon = daemon
        self._workers = workers
        self._places = places
        self._meetings = meetings
        self._clock = clock
        self._beaten = clock()
        self.rest_s = BEAT_S
        """How long after the last beat the next one is due."""
        self.knocks = Knocks()

    def beat(self, now: float) -> bool:
        """Look after the connections; whether the daemon's holds, as far as is known."""
        late = now - self._beaten - self.rest_s
        self._beaten = now
        holds = self._look(now, paused=late > PAUSE_S)
        self.rest_s = self._rest(now)
        return holds

    def _rest(self, now: float) -> float:
        """Until the next ping, where nothing is awaited that could fail to come."""
        link = self._daemon.link
        if link is None or link.welcome is None:
            return IDLE_S
        links = self._links(link)
        rest = IDLE_S
        for each in links:
            each.calm = True  # first: what is asked from here on rouses the pump
            if each.waiting or each.down is not None or each.pinged is not None:
                rest = BEAT_S
            rest = min(rest, each.heard + self._quiet(each, link.welcome) - now)
        if rest > BEAT_S or link.down is not None:  # or there may be no rest for a long time
            for each in links:
                each.listen()
        return max(BEAT_S, rest)

    def _links(self, daemon: Link) -> list[Link]:
        return [daemon, *(link for link in list(self._workers.links.values()) if link is not None)]

    def _look(self, now: float, *, paused: bool) -> bool:
        link = self._daemon.link
        if link is None or link.welcome is None:
            return False
        for address in self._workers.forget_dead(self._places.addresses()):
            self._places.leave(address)
        holds = link.down is None
        if holds:
            self.knocks.heard()
        elif self._may_be_back(now):  # it is back, or it was the connection: the lease
            self._return()
        for each in self._links(link):  # workers', too, while there is no daemon: calls wait there
            if each.down is None:
                self._look_after(each, link.welcome, now, paused=paused)
        return holds

    def _look_after(self, link: Link, told: Welcome, now: float, *, paused: bool) -> None:
        beat = told.heartbeat_s
        if link.pinged is None:
            if now - link.heard >= self._quiet(link, told):
                link.ping()
        elif paused:
            link.excuse(now)
        elif now - link.pinged > patience(beat):
            # Counted from the ping: nothing had to come before it, however long that was.
            self._silent(link, now, beat)

    def _quiet(self, link: Link, told: Welcome) -> float:
        """Seconds after which it is asked for a sign of life; the lease is the daemon's."""
        beat = told.heartbeat_s
        if link.waiting:
            return QUIET_BEATS * beat
        return min(told.grace_s / 3, 10 * beat) if link is self._daemon.link else math.inf

    def _silent(self, link: Link, now: float, beat: float) -> None:
        since = now - link.heard
        daemon, welcome = self._daemon.link, link.welcome
        if daemon is None or daemon is link or welcome is None:
            told = f"the daemon at {self._daemon.endpoint} has been silent for {since:.1f} s"
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
            self._workers.doubt(link.endpoint)
            link.fail(told)
        else:
            link.fail(f"{told}; {failure.message if failure else ''}", for_good=True)

    def _may_be_back(self, now: float) -> bool:
        """Whether to look for the daemon: where that means to knock, not at every beat."""
        refused = self._meetings.refused(self._daemon.endpoint)
        rested = now - refused > RETURN_S and self.knocks.due(now)
        return (self._daemon.local or rested) and self._daemon.way.is_listening()

    def _return(self) -> None:
        """Connect to the daemon again; it may listen and yet not answer for seconds."""
        if not self._runtime.aside.busy(self._daemon.endpoint):
            self._runtime.aside.do(self._daemon.endpoint, self._connect_if_possible)

    def _connect_if_possible(self) -> None:
        link = self._daemon.link
        try:
            self._daemon.connect()
        except AgentdError:
            if link is not None and link.welcome is not None:
                self.knocks.unheard(self._clock(), link.welcome.grace_s)
