"""Connections within one host: stream sockets, without ZeroMQ in between.

Calls between a client and a worker of the same host go this way. libzmq hands each message to a
thread of its own and back on either side, which is most of what a small call costs over it (see
docs/decisions); it also has no bound that holds for what a peer may make it keep. The ports here
have the members of ``sockets.Port``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from agentd.transport.origin import ROUTE_BYTES
from agentd.transport.unreachable import Unreachable
from agentd.transport.wire import Broken, Wire

__all__ = [
    "MAX_MESSAGE",
    "MAX_QUEUED",
    "LocalPort",
    "LocalRouter",
    "Peer",
    "adopt",
    "connect",
    "listen",
    "pair",
]

MAX_MESSAGE: Final = 4 * 1024**3
"""Bytes of one message, unless told otherwise."""
MAX_QUEUED: Final = 1024**3
"""Bytes that wait for one peer, unless told otherwise; one who is further behind is cut off."""
BACKLOG: Final = 4096
_IN: Final = select.EPOLLIN
_INOUT: Final = select.EPOLLIN | select.EPOLLOUT
_UCRED: Final = struct.Struct("3i")


class LocalPort:
    """One connection; any thread may call any method.

    ``fd`` is readable when there is something to ``receive``, and also when what waits in the
    outbox can be sent: ``receive`` does that, too.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        most: int = MAX_MESSAGE,
        most_queued: int = MAX_QUEUED,
    ) -> None:
        self._wire = Wire(connected, most)
        self._most_queued = most_queued
        self.lock = threading.Lock()
        self._socket_fd = connected.fileno()
        # An epoll of its own, so that whoever waits for ``fd`` need not know of the outbox.
        self._epoll = select.epoll()
        self._epoll.register(self._socket_fd, _IN)
        self._writing = False
        self.fd: int = self._epoll.fileno()
        self.fds: tuple[int, ...] = (self.fd,)
        self.closed = False
        self.broken = ""
        """Why it is of no use any more; empty while it is."""

    def send(self, frames: Sequence[Any]) -> bool:
        """Send all frames or, raising ``Unreachable``, none. Never tells of input (False)."""
        with self.lock:
            return self.send_locked(frames)

    def send_locked(self, frames: Sequence[Any]) -> bool:
        """``send`` for a caller that holds the lock."""
        if self.broken or self.closed:
            raise Unreachable(self.broken or "it is closed")
        wire = self._wire
        try:
            wire.send(frames)
        except Broken as error:
            self.broken = str(error)
            raise Unreachable(str(error)) from None
        if wire.queued:
            self._behind()
        return False

    def put(self, frames: Sequence[Any]) -> None:
        """``send``, but they leave with the next ``flush``, or before what is sent next."""
        with self.lock:
            if self.broken or self.closed:
                raise Unreachable(self.broken or "it is closed")
            self._wire.send(frames, hold=True)
            if self._wire.queued > self._most_queued:
                self._behind()

    def flush(self) -> None:
        """Send what was put, as far as the peer takes it now; the rest follows."""
        with self.lock:
            if self.broken or self.closed or not self._wire.queued:
                return
            try:
                if not self._wire.flush():
                    self._behind()
            except Broken as error:
                self.broken = str(error)
            except Unreachable:
                pass  # it is broken now, which the loop sees

    def _behind(self) -> None:
        if self._wire.queued > self._most_queued:
            self.broken = f"its peer does not read: {self._wire.queued:,} bytes wait for it"
            self._wire.socket.shutdown(socket.SHUT_RDWR)
            raise Unreachable(self.broken)
        if not self._writing:
            self._writing = True
            self._epoll.modify(self._socket_fd, _INOUT)

    def receive(self, most: int) -> tuple[list[list[Any]], bool]:
        """Up to about ``most`` messages without waiting, and whether there may be more."""
        with self.lock:
            return self.receive_locked(most)

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """``receive`` for a caller that holds the lock."""
        messages: list[list[Any]] = []
        more = False
        if self.closed:
            return messages, more
        try:
            if not self.broken:
                if self._writing and self._wire.flush():
                    self._writing = False
                    self._epoll.modify(self._socket_fd, _IN)
                more = self._wire.receive(most, messages)
        except Broken as error:
            self.broken = str(error)
        if self.broken:
            with contextlib.suppress(OSError):
                self._epoll.unregister(self._socket_fd)  # it would be readable for ever
        return messages, more

    def has_broken(self) -> bool:
        """Whether the connection has ended, as far as ``receive`` has seen."""
        return bool(self.broken)

    def close(self, linger_ms: int = 0) -> None:
        """Close it; what waits in the outbox is kept for ``linger_ms`` at most."""
        with self.lock:
            self.close_locked(linger_ms)

    def close_locked(self, linger_ms: int = 0) -> None:
        """``close`` for a caller that holds the lock."""
        if self.closed:
            return
        self.closed = True
        if not self.broken:
            _flush_for([self._wire], linger_ms / 1000)
        self._epoll.close()
        self._wire.close()


class Peer:
    """One connection of a router."""

    __slots__ = ("fd", "lock", "route", "uid", "wire", "writing")

    def __init__(self, wire: Wire, route: bytes, uid: int) -> None:
        self.wire = wire
        self.route = route
        self.uid = uid
        self.fd = wire.socket.fileno()
        self.lock = threading.Lock()  # protects the outbox
        self.writing = False


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
    ) -> None:
        """``uids``: whether a user may connect, as the kernel names the peer."""
        listener.settimeout(0)
        self._listener = listener
        self._allowed = uids
        self._most = most
        self._most_queued = most_queued
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), _IN)
        self.fd: int = self._epoll.fileno()
        self._peers: dict[bytes, Peer] = {}
        self._by_fd: dict[int, Peer] = {}
        self._ready: dict[int, int] = {}  # descriptors that have had no turn yet
        self._next = 0
        self.refused = 0
        """Connections of users who may not come."""
        self.cut_off = 0
        """Peers that did not read what they had asked for."""
        self.closed = False

    def __len__(self) -> int:
        return len(self._peers)

    def send(self, frames: Sequence[Any]) -> bool:
        """Send all frames but the first to the peer that it names; raises ``Unreachable``."""
        peer = self._peers.get(bytes(frames[0]))
        if peer is None:
            raise Unreachable("it has gone")
        with peer.lock:
            try:
                peer.wire.send(frames[1:])
            except Broken as error:
                raise Unreachable(str(error)) from None
            if peer.wire.queued and not peer.writing:
                self._write_later(peer)
            behind = peer.wire.queued > self._most_queued
        if behind:
            self.cut_off += 1
            self._hang_up(peer)
            raise Unreachable("it does not read what it asked for")
        return False

    def _write_later(self, peer: Peer) -> None:
        """Send the rest when the socket takes more. Under the peer's lock."""
        peer.writing = True
        with contextlib.suppress(OSError):  # it was closed just now
            self._epoll.modify(peer.fd, _INOUT)

    def _hang_up(self, peer: Peer) -> None:
        """End a connection, from any thread: the loop finds it ended."""
        with contextlib.suppress(OSError):
            peer.wire.socket.shutdown(socket.SHUT_RDWR)

    def receive(self, most: int) -> tuple[list[list[Any]], bool]:
        """Up to about ``most`` messages without waiting, and whether there may be more."""
        messages: list[list[Any]] = []
        if self.closed:
            return messages, False
        if not self._ready:
            self._ready.update(self._epoll.poll(0))
        while self._ready and len(messages) < most:
            fd, events = next(iter(self._ready.items()))
            del self._ready[fd]
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._serve(fd, events, most, messages)
        return messages, bool(self._ready) or len(messages) >= most

    def _serve(self, fd: int, events: int, most: int, messages: list[list[Any]]) -> None:
        peer = self._by_fd.get(fd)
        if peer is None:
            return
        came: list[list[Any]] = []
        try:
            if events & select.EPOLLOUT:
                self._flush(peer)
            if events & ~select.EPOLLOUT:
                # Not more than its share: the others have their turn before it comes again.
                peer.wire.receive(most, came)
        except Broken:
            self._drop(peer)
        route = peer.route
        messages.extend([route, *frames] for frames in came)

    def _flush(self, peer: Peer) -> None:
        with peer.lock:
            if peer.wire.flush():
                peer.writing = False
                self._epoll.modify(peer.fd, _IN)

    def _accept(self) -> None:
        while True:
            try:
                connected, _address = self._listener.accept()
            except OSError:  # nobody waits; or there are no descriptors: they wait, and are let in
                return
            uid = peer_uid(connected)
            if uid is None or not self._allowed(uid):
                self.refused += 1
                connected.close()
                continue
            self._next += 1
            peer = Peer(Wire(connected, self._most), self._next.to_bytes(ROUTE_BYTES, "big"), uid)
            self._peers[peer.route] = peer
            self._by_fd[peer.fd] = peer
            self._epoll.register(peer.fd, _IN)
            self._accepted(peer)

    def _accepted(self, peer: Peer) -> None:
        """There is a new connection."""

    def _drop(self, peer: Peer) -> None:
        self._peers.pop(peer.route, None)
        self._by_fd.pop(peer.fd, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(peer.fd)
        with peer.lock:
            peer.wire.close()

    def close(self, linger_ms: int = 0) -> None:
        """Close all; answers that wait are kept for ``linger_ms`` at most."""
        if self.closed:
            return
        self.closed = True
        self._listener.close()
        _flush_for([peer.wire for peer in self._peers.values()], linger_ms / 1000)
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._epoll.close()


def _flush_for(wires: list[Wire], seconds: float) -> None:
    """Send what waits, for so long at most."""
    until = time.monotonic() + seconds
    waiting = [wire for wire in wires if wire.queued]
    while waiting:
        left = []
        for wire in waiting:
            with contextlib.suppress(Broken):
                if not wire.flush():
                    left.append(wire)
        waiting = left
        rest = until - time.monotonic()
        if not waiting or rest <= 0:
            return
        select.select([], [wire.socket for wire in waiting], [], rest)


def peer_uid(connected: socket.socket) -> int | None:
    """The user at the other end, as the kernel knows it since the connection was made."""
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    uid: int = _UCRED.unpack(raw)[1]
    return uid


def listen(path: str, listener: socket.socket | None = None) -> socket.socket:
    """A socket that listens at the path, open to this user alone; the given one, or a new one."""
    if listener is None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def connect(path: str, timeout: float) -> LocalPort:
    """A connection to who listens at the path; raises ``OSError``."""
    until = time.monotonic() + timeout
    while True:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connecting.settimeout(max(0.01, until - time.monotonic()))
            connecting.connect(path)
            return LocalPort(connecting)
        except BlockingIOError:  # more wait to be accepted than may
            connecting.close()
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        except BaseException:
            connecting.close()
            raise


def adopt(fd: int) -> socket.socket:
    """A socket that was inherited; programs started from here do not inherit it further."""
    os.set_inheritable(fd, False)  # noqa: FBT003 - the name says it
    return socket.socket(fileno=fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that nobody else can reach."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
