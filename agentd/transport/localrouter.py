"""Many connections within a host, for the side that listens."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from agentd.transport.counted import Counted
from agentd.transport.debts import REST_S, Debts
from agentd.transport.faults import Faults
from agentd.transport.localport import MAX_MESSAGE, MAX_QUEUED, flush_for
from agentd.transport.origin import ROUTE_BYTES
from agentd.transport.peer import Peer, owner_of, peer_of
from agentd.transport.portions import Portions
from agentd.transport.shares import Attention, cost
from agentd.transport.unreachable import Unreachable
from agentd.transport.wire import Broken, Wire

__all__ = ["NEWCOMERS", "UNREAD", "LocalRouter"]

UNREAD: Final = 256 * 1024
"""Bytes that wait for one peer; beyond that it is read from slowly, until it reads itself."""
MOST_FAULTS: Final = 20
"""Of one process: no program sends by accident again and again what is no message."""
NEWCOMERS: Final = 8
"""Connections that are accepted in a turn."""
_IN: Final = select.EPOLLIN
_NEWCOMERS: Final = "newcomers"
"""In the book of debts: all who connect."""


class LocalRouter:
    """A listening socket and its connections, each named by a route; any thread may ``send``.

    Messages come as ``[route, *frames]``, and are sent so. Only ``receive`` accepts, reads and
    closes, in one thread at a time.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        uids: Callable[[int], bool] = lambda uid: uid == os.geteuid(),
        most: int = MAX_MESSAGE,
        most_queued: int = MAX_QUEUED,
        shares: bool = True,
        portions: Portions | None = None,
    ) -> None:
        """``uids``: whether a user may connect, as the kernel names the peer.

        ``shares``: long frames may go by shared memory. ``portions``: see ``FrontPort``.
        """
        listener.settimeout(0)
        self._listener = listener
        self._allowed = uids
        self._most = most
        self._most_queued = most_queued
        self._shares = shares
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), _IN)
        self.fd: int = self._epoll.fileno()
        self._peers: dict[bytes, Peer] = {}
        self._by_fd: dict[int, Peer] = {}
        self._ready: dict[int, int] = {}  # descriptors that have had no turn yet
        self._next = 0
        self._holder = 0
        self._held: set[Peer] = set()
        self._debts = Debts(time.monotonic)
        self._faults = Faults(MOST_FAULTS, time.monotonic)
        self._portions = portions
        self._resting: dict[Peer, float] = {}
        """Who is not read from, and until when."""
        self._door_rests_until = 0.0
        """As long as nobody is accepted; 0: all are."""
        self._attention = Attention(time.monotonic)
        self.refused = 0
        """Connections of users who may not come, and of processes that sent nonsense."""
        self.malformed = 0
        """Messages that were none."""
        self.disconnected_malformed = 0
        """Peers that sent too many of those."""
        self.cut_off = 0
        """Peers that did not read what they had asked for."""
        self.on_count: Callable[[], None] = lambda: None
        """Called, in any thread, when one of these has grown."""
        self.on_accepted: Callable[[Peer], None] = lambda _peer: None
        """Called with each new connection."""
        self.on_lost: Callable[[Peer], None] = lambda _peer: None
        """Called with each that has ended."""
        self.closed = False

    def __len__(self) -> int:
        return len(self._peers)

    def counted(self) -> Counted:
        """Who was not let in, or cut off."""
        return Counted(
            connections_refused=self.refused,
            malformed=self.malformed,
            disconnected_malformed=self.disconnected_malformed,
            disconnected_unread=self.cut_off,
        )

    def send(self, frames: Sequence[Any]) -> bool:
        """Send all frames but the first to the peer that it names; raises ``Unreachable``."""
        peer = self._peers.get(bytes(frames[0]))
        if peer is None:
            raise Unreachable("it has gone")
        if self._portions is not None:
            self._portions.count(peer.owner)
        hold = threading.get_ident() == self._holder
        with peer.lock:
            try:
                peer.wire.send(frames[1:], hold=hold)
            except Broken as error:
                raise Unreachable(str(error)) from None
            if hold:
                peer.held_at = peer.held_at or time.monotonic()
                self._held.add(peer)
                hold = threading.get_ident() == self._holder
            if not hold:  # or not any more: whoever let go may have come before it was added
                self._flush_now(peer)
            behind = peer.wire.queued > self._most_queued
        if behind:
            self.cut_off += 1
            self.on_count()
            self._hang_up(peer)
            raise Unreachable("it does not read what it asked for")
        return False

    def owner(self, route: bytes) -> str:
        """Whose connection that is (see ``owner_of``); of one that has gone nobody's."""
        peer = self._peers.get(route)
        return "" if peer is None else peer.owner

    def has_read(self, route: bytes) -> bool:
        """Whether that peer has taken all that was sent to it so far."""
        peer = self._peers.get(route)
        if peer is None:
            return False
        with peer.lock:
            try:
                return not peer.wire.queued and not peer.wire.untaken()
            except OSError:  # it was closed just now
                return False

    def hold_back(self) -> None:
        """What this thread sends from now on waits for ``let_go``, and leaves together."""
        self._holder = threading.get_ident()

    def let_go(self, patience_s: float = 0.0) -> bool:
        """Send what was held back. From any thread.

        ``patience_s``: for so long answers wait for a peer of which more was read already, and so
        more will be answered in a moment; whether any do.
        """
        since = time.monotonic() - patience_s
        holder, self._holder = self._holder, 0
        kept = []
        while self._held:
            try:
                peer = self._held.pop()
            except KeyError:
                break
            if patience_s and peer.came and not peer.resting and peer.held_at > since:
                kept.append(peer)
                continue
            with peer.lock:
                peer.held_at = 0.0
                self._flush_now(peer)
        if kept:
            self._held.update(kept)
            self._holder = holder
        return bool(kept)

    def _flush_now(self, peer: Peer) -> None:
        """Send what waits, unless the socket is known to be full. Under the peer's lock."""
        if peer.wire.queued and not peer.writing:
            with contextlib.suppress(Broken):  # the loop finds it broken
                peer.wire.flush()
            self._watch(peer)

    def fault(self, route: bytes, header_bytes: int) -> None:
        """What this peer sent was no message: once too often, and its connection is ended.

        Its process is not let in again for a while.
        """
        self.malformed += 1
        peer = self._peers.get(route)
        if peer is not None and self._faults.add(peer.owner, cost(header_bytes)):
            self.disconnected_malformed += 1
            peer.came.clear()
            self._hang_up(peer)
        self.on_count()

    def _hang_up(self, peer: Peer) -> None:
        """End a connection, from any thread: the loop finds it ended."""
        with contextlib.suppress(OSError):
            peer.wire.socket.shutdown(socket.SHUT_RDWR)

    def receive(self, most: int) -> tuple[list[list[Any]], bool]:
        """Up to about ``most`` messages without waiting, and whether there may be more."""
        messages: list[list[Any]] = []
        if self.closed:
            return messages, False
        if self._portions is not None:
            self._portions.settle()
        if self._resting or self._door_rests_until:
            self._end_rests(time.monotonic())
        for fd, events in self._epoll.poll(0):
            self._ready[fd] = self._ready.get(fd, 0) | events
        again = []
        while self._ready and len(messages) < most:
            fd, events = next(iter(self._ready.items()))
            del self._ready[fd]
            if fd == self._listener.fileno():
                self._accept_some()
            elif self._serve(fd, events, messages):
                again.append(fd)
        for fd in again:  # behind those that have had no turn yet
            self._ready.setdefault(fd, 0)
        return messages, bool(self._ready or self._resting or self._door_rests_until)

    def charge(self, route: bytes, size: int = 0, *, excused: bool = False) -> None:
        """A message of that peer made work that helps nobody. ``excused``: see ``FrontPort``."""
        peer = self._peers.get(route)
        if peer is not None:
            self._debts.charge(peer.owner, size)
            if self._portions is not None and not excused:
                self._portions.ignore(peer.owner)

    def rest_s(self) -> float:
        """How long the loop may leave here what is waiting, unless ``fd`` tells of more."""
        if self._ready or not (self._resting or self._door_rests_until):
            return 0.0
        until = min(self._resting.values(), default=math.inf)
        until = min(until, self._door_rests_until or math.inf)
        return max(0.001, until - time.monotonic())

    def _rest(self, peer: Peer, until: float) -> None:
        """Leave with it what it sends, as it owes, or has had more than its portion."""
        peer.resting = True
        self._resting[peer] = until
        self._epoll.modify(peer.fd, peer.events)

    def _end_rests(self, now: float) -> None:
        if self._door_rests_until and now >= self._door_rests_until:
            self._door_rests_until = 0.0
            self._epoll.modify(self._listener.fileno(), _IN)
        for peer in [peer for peer, until in self._resting.items() if now >= until]:
            del self._resting[peer]
            peer.resting = False
            if self._by_fd.get(peer.fd) is peer:
                self._epoll.modify(peer.fd, peer.events)
                self._ready.setdefault(peer.fd, 0)  # for what was read before

    def _serve(self, fd: int, events: int, messages: list[list[Any]]) -> bool:
        """Take a peer's share; whether more of it is here."""
        peer = self._by_fd.get(fd)
        if peer is None:
            return False
        came = peer.came
        try:
            if events & select.EPOLLOUT:
                self._flush(peer)
            if events & ~select.EPOLLOUT and not came and not peer.resting:
                self._read(peer)
        except Broken:
            peer.broken = True
        if peer.resting and not peer.broken:
            return False
        if came and self._portions is not None and not peer.broken:
            until = self._portions.until(peer.owner)
            if until:
                self._rest(peer, until)
                return False
        had, route, owes = 0, peer.route, self._debts.owes(peer.owner)
        share = self._attention.share(route, in_debt=owes) if came else 0
        while came and had < share:
            frames = came.popleft()
            messages.append([route, *frames])
            had += cost(len(frames[0]))
            if self._portions is not None:
                self._portions.count(peer.owner)
        if peer.broken and not came:
            self._drop(peer)
        elif had and (owes or peer.wire.queued > UNREAD):
            self._rest(peer, time.monotonic() + REST_S)
            return False
        return bool(came)

    def _read(self, peer: Peer) -> None:
        """Read what is there, or as much as is read at once; there may be more."""
        came: list[list[Any]] = []
        try:
            peer.wire.receive(1, came)
            if peer.wire.replies:
                self._reply(peer)
        finally:
            peer.came.extend(came)

    def _reply(self, peer: Peer) -> None:
        """Send what the connection itself has to say."""
        with peer.lock:
            peer.wire.reply()
            self._watch(peer)

    def _watch(self, peer: Peer) -> None:
        """Be told when what waits for it can be sent."""
        if peer.wire.queued and not peer.writing:
            peer.writing = True
            with contextlib.suppress(OSError):  # it was closed just now
                self._epoll.modify(peer.fd, peer.events)

    def _flush(self, peer: Peer) -> None:
        with peer.lock:
            if peer.wire.flush():
                peer.writing = False
                self._epoll.modify(peer.fd, peer.events)

    def _accept_some(self) -> None:
        """Accept a share; those who come by the hundred wait a while, and nobody else."""
        for _ in range(NEWCOMERS):
            try:
                connected, _address = self._listener.accept()
            except OSError:  # nobody waits; or there are no descriptors: they wait, and are let in
                break
            self._debts.charge(_NEWCOMERS)
            self._welcome(connected)
        if self._debts.owes(_NEWCOMERS):
            self._door_rests_until = time.monotonic() + REST_S
            self._epoll.modify(self._listener.fileno(), 0)

    def _welcome(self, connected: socket.socket) -> None:
        who = peer_of(connected)
        if who is None or not self._allowed(who[1]) or self._faults.is_shut_out(owner_of(*who)):
            self.refused += 1
            self.on_count()
            connected.close()
            return
        self._next += 1
        route = self._next.to_bytes(ROUTE_BYTES, "big")
        wire = Wire(connected, self._most, shares=self._shares)
        peer = Peer(wire, route, *who)
        self._peers[peer.route] = peer
        self._by_fd[peer.fd] = peer
        self._epoll.register(peer.fd, _IN)
        self.on_accepted(peer)

    def _drop(self, peer: Peer) -> None:
        known = self._peers.pop(peer.route, None) is not None
        self._by_fd.pop(peer.fd, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(peer.fd)
        with peer.lock:
            peer.wire.close()
        if known:
            self.on_lost(peer)

    def close(self, linger_ms: int = 0) -> None:
        """Close all; answers that wait are kept for ``linger_ms`` at most."""
        if self.closed:
            return
        self.closed = True
        self._listener.close()
        flush_for([peer.wire for peer in self._peers.values()], linger_ms / 1000)
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._epoll.close()
