"""The ways to a daemon's workers: their own sockets, or the daemon, which relays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from agentd.client.dialing import dial_worker
from agentd.client.doors import Doors
from agentd.client.link import Link
from agentd.client.pending import LinkDown
from agentd.errors import AgentdError, CallTimeout, ConnectionLost, DaemonNotFound
from agentd.protocol.messages import Ready, Vouch
from agentd.transport import rundir

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon
    from agentd.client.meeting import Meetings
    from agentd.client.runtime import Runtime

__all__ = ["Workers"]

WORKER_TIMEOUT_S = 1.75
"""How long a worker may take, before the daemon is asked about it."""
DOUBTED_TIMEOUT_S = 0.25
"""How long one may take that is well, as the daemon says, though its connection was silent: what
was found until then took almost three heartbeats."""
AVOID_S = 5.0
"""How long the daemon relays for a worker that did not answer."""


class Workers:
    """Those of one daemon, by the addresses of their sockets. From any thread."""

    def __init__(
        self, runtime: Runtime, daemon: Daemon, meetings: Meetings, *, direct: bool
    ) -> None:
        self.direct = direct
        """Whether their own sockets on this host may be reached from here."""
        self._doors = None if daemon.local else Doors(runtime, daemon)
        self.links: dict[str, Link | None] = {}
        """By address; ``None``: not to be reached from here, the daemon relays."""
        self._runtime = runtime
        self._daemon = daemon
        self._meetings = meetings
        self._lock = threading.RLock()  # protects the links, taken before the daemon's
        self._avoided: dict[str, float] = {}
        """Those that did not answer: until when the daemon relays for them."""
        self._doubted: set[str] = set()

    def link(self, place: Ready, came: float | None = None, needs: Collection[Any] = ()) -> Link:
        """The way to a worker: its own socket, else the daemon.

        Raises ``LinkDown`` if it is gone, ``ConnectionLost`` if it stands still. ``came``: since
        when the caller waits for it. ``needs``: of the call that is to go there.
        """
        if self._is_relayed(needs):
            return self._daemon.connect(came)
        address = place.address
        link = self.links.get(address)
        if link is not None and link.down is None:
            return link
        came = time.monotonic() if came is None else came
        with self._lock:
            link = self.links.get(address)
            if link is not None and link.down is None:
                return link
            if link is not None:
                link.close()
            if self._doors is not None:
                return self._by_door(self._doors, place, came)
            relayed = address in self.links and link is None
            if relayed or not self.direct or self._avoided.get(address, 0.0) > time.monotonic():
                return self._daemon.connect(came)
            if not _listens(address):
                if link is not None:  # it was there once: it is gone, not out of reach
                    del self.links[address]
                    raise LinkDown("the worker is gone", endpoint=address, sent=False)
                self.links[address] = None
                return self._daemon.connect(came)
            return self._meetings.once(address, came, lambda: self._meet(place))

    def _is_relayed(self, needs: Collection[Any]) -> bool:
        """Whether the daemon alone can check the call, as it needs results of other agents.

        A worker on the network knows its own agents only. It is asked of those who may not send
        code; all others may have any result.
        """
        return bool(needs) and self.relays_some

    @property
    def relays_some(self) -> bool:
        """Whether some calls go by the daemon though others do not."""
        return self._doors is not None and not self._daemon.takes_code()

    def _by_door(self, doors: Doors, place: Ready, came: float) -> Link:
        """Its door to the network, if it opens; else the daemon, for a while."""
        if doors.may_open(place):
            address = place.address
            dial = partial(doors.dial, place)
            try:
                link = self.links[address] = self._meetings.once(
                    address, came, lambda: self._meetings.open(address, dial, WORKER_TIMEOUT_S)
                )
            except AgentdError as error:
                doors.failed(place, error)
            else:
                doors.opened()
                return link
        self.links.pop(place.address, None)
        return self._daemon.connect(came)

    def _meet(self, place: Ready) -> Link:
        address = place.address
        doubted = address in self._doubted
        self._doubted.discard(address)
        timeout = DOUBTED_TIMEOUT_S if doubted else WORKER_TIMEOUT_S
        try:
            dial = partial(dial_worker, address)
            opened = self.links[address] = self._meetings.open(address, dial, timeout)
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
        return self._daemon.connect()

    def _ask_about(self, place: Ready) -> None:
        """Raises ``ConnectionLost`` if the daemon finds the worker neither well nor busy."""
        deadline = time.monotonic() + WORKER_TIMEOUT_S
        try:
            self._daemon.request(lambda n: Vouch(n, place.worker), deadline=deadline)
        except CallTimeout:
            raise ConnectionLost(
                f"neither worker {place.worker} nor the daemon answers",
                endpoint=self._daemon.endpoint,
            ) from None

    def doubt(self, address: str) -> None:
        """Its connection was silent though it is well: the next one has less time to be made."""
        self._doubted.add(address)

    def is_open(self, place: Ready, needs: Collection[Any] = ()) -> bool:
        """Whether ``link`` gives the way to it without waiting for a connection."""
        address = place.address
        link = self.links.get(address)
        if self._doors is not None:
            gone = link is None or link.down is not None
            if self._is_relayed(needs) or (gone and not self._doors.may_open(place)):
                link = self._daemon.link
        elif link is None and (address in self.links or not self.direct):
            link = self._daemon.link
        return link is not None and link.down is None

    def when_open(self, place: Ready, step: Callable[[], None]) -> None:
        """Call ``step``, which needs the way to it: where it has to wait for that, not here."""
        if self.is_open(place):
            step()
        else:
            self._runtime.aside.do(place.address, step)

    def is_there(self, place: Ready) -> bool:
        """Whether the worker still listens, or the daemon that relays for it."""
        relayed = place.address in self.links and self.links[place.address] is None
        if relayed or not self.direct:
            return self._daemon.way.is_listening()
        return _listens(place.address)

    def forget_dead(self, used: set[str]) -> list[str]:
        """Close the ways to those that are gone; their addresses, which are never used again.

        ``used``: where agents are, as far as known here. Does not wait for who connects just now.
        """
        if not self._lock.acquire(blocking=False):
            return []  # there will be another heartbeat
        dead = []
        try:
            for address, link in list(self.links.items()):
                if link is None and address in used:
                    continue  # the daemon relays; it tells when the worker is gone
                if link is not None and (link.down is None or _listens(address)):
                    continue
                del self.links[address]
                self._doubted.discard(address)
                if link is not None:
                    link.close()
                if self._doors is None:  # else the way may be broken, and the worker well
                    dead.append(address)
        finally:
            self._lock.release()
        return dead

    def close(self) -> None:
        """Close all connections; open requests fail."""
        with self._lock:
            links, self.links = self.links, {}
        for link in links.values():
            if link is not None:
                link.close()


def _listens(address: str) -> bool:
    return rundir.is_listening(rundir.worker_path(address))
