"""The connections of clients: how many there are, whose, what came by them; and how to end one.

libzmq tells of none of this by itself, and bounds none of it. Its monitor does tell of each
connection that it accepts and loses, with the descriptor: one that is too many is ended by that.
The next is accepted when that is known (see ``listener``), and not while ``ENDING`` too many have
not gone yet, so that a few spare descriptors are enough.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import resource
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agentd.transport.counted import Counted
from agentd.transport.filters import drop_data, drop_newcomers, drop_nothing
from agentd.transport.listener import Listener
from agentd.transport.origin import Origin, is_later, is_own, mark_of

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort
    from agentd.transport.localfront import LocalFront
    from agentd.transport.sockets import Port

__all__ = ["ENDING", "QUIET_S", "SPARE", "Connection", "Connections", "most_connections"]

log = logging.getLogger("agentd.transport")

ENDING: Final = 50
"""Connections that were too many, and are ended, of which libzmq has not told that they have gone;
then nobody is accepted."""
SPARE: Final = 200
"""Descriptors that are not for connections: those of ``ENDING`` and of one that was just accepted,
what a daemon has without any client (25 to 35), what is opened for a moment, and some for workers
that agents have for themselves."""
AHEAD: Final = 2_000
"""How many connections libzmq may be ahead where it cannot be told to wait (see ``listener``)."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why libzmq could not accept anybody, and not just one."""
WORKER: Final = 6
"""What a daemon has for each worker, besides (measured)."""
SHARE: Final = 0.8
"""Of the descriptors that the system allows, for connections; the rest is for workers and files."""
QUIET_S: Final = 10.0
"""What many connections do is told in the log once in this time."""
_UCRED: Final = struct.Struct("3i")
_BYTES_RECEIVED: Final = 128
"""Offset of ``tcpi_bytes_received`` in ``struct tcp_info`` (linux/tcp.h, since Linux 4.1)."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection of a client."""

    fd: int
    front: int
    """The number of the socket that accepted it."""
    route: bytes = b""
    """Its name there, once a message has come by it."""
    peer: str = ""
    """See ``Origin``; once a message has come by it, too."""
    messages: int = 0
    frames: int = 0
    bytes: int = 0
    """Of finished messages; over TCP as they were sealed."""
    pressure: int = 0
    """How often it was seen sending since it last finished a message."""
    seen: int = 0
    """``messages`` when it was last looked at."""
    started: int = 0
    """Bytes that had come over TCP when it was last seen to have finished a message."""
    unfinished: int = 0
    """Bytes that have come over TCP since then."""
    mark: int = 0
    """See ``mark_of``: 0 until a message has come by it."""
    overlong: bool = False
    """See ``Overlong``."""
    ended: bool = False
    """By us: it is here until libzmq has seen it."""


def most_connections(wanted: int, workers: int = 0) -> int:
    """How many connections may be had: what is wanted, or what the system allows.

    Where that leaves no ``SPARE``, and none for so many workers, fewer: at least a fifth of the
    descriptors.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return wanted
    left = allowed - SPARE - WORKER * workers
    return max(1, min(wanted, int(allowed * SHARE), max(left, allowed // 5)))


class Connections:
    """All of them. Used in the loop's thread only."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = most
        self._clock = clock
        self._by_fd: dict[int, Connection] = {}
        self._gone: dict[tuple[int, int], tuple[bytes, float]] = {}
        """By socket and descriptor: the route of the last connection that has gone, and when."""
        self._doubtful: set[Connection] = set()
        """Lost, as was told, and yet there."""
        self._names: list[str | int] = []
        self._monitors: list[tuple[FrontPort, Port] | None] = []
        self._told_at: float | None = None
        self._listeners: dict[int, Listener] = {}
        """By socket, where libzmq told by which descriptor it listens."""
        self._full: set[int] = set()
        """Sockets where nobody is accepted until somebody has gone."""
        self.on_lost: Callable[[Connection], None] = lambda _connection: None
        self.on_wasted: Callable[[int], None] = lambda _front: None
        """Called with the number of its socket of each one by which no message had come."""
        self.on_no_room: Callable[[int], None] = self._admit
        """Called with the number of a socket where the system had no room for one more: for a while
        nobody should be accepted (see ``rest``), or else the next is tried at once."""
        self.shed = 0
        """Connections that were one too many."""
        self.handshakes_failed = 0
        """Connections that spoke no ZMTP, not in time, or with a key that is not known."""

    def counted(self) -> Counted:
        """What did not become a connection."""
        return Counted(connections_shed=self.shed, handshakes_failed=self.handshakes_failed)

    def __len__(self) -> int:
        self._settle()
        return len(self._by_fd)

    def __iter__(self) -> Iterator[Connection]:
        self._settle()
        return iter(list(self._by_fd.values()))

    def watch(self, front: FrontPort) -> Port:
        """Watch what a socket will accept, before it is bound; the port to be served for that."""
        from agentd.transport.monitor import monitor_of

        number = len(self._monitors)
        monitor = monitor_of(front)
        self._monitors.append((front, monitor))
        front.on_message = partial(self._came, number)
        return monitor

    def follow(self, front: LocalFront) -> None:
        """The same for a socket that tells by itself."""
        number = len(self._monitors)
        self._monitors.append(None)
        front.on_message = partial(self._came, number)
        front.on_accepted = lambda peer: self._accepted(number, peer.fd)
        front.on_lost = lambda peer: self._lost(number, peer.fd)

    def bound(self, name: str | int) -> None:
        """A watched socket listens there: the path of a socket, or a port of TCP."""
        self._names.append(name)

    def events(self, front: int, heads: list[bytes]) -> None:
        """What a monitor tells, the oldest first."""
        from agentd.transport.monitor import read

        for kind, fd in map(read, heads):
            if kind == "accepted":
                self._accepted(front, fd)
                self._admit(front)
            elif kind == "lost":
                self._lost(front, fd)
            elif kind == "listening":
                self._listeners[front] = Listener(fd, self._unseen)
                self._admit(front)
            elif kind == "refused":
                if fd in _NO_ROOM:
                    self.on_no_room(front)
                else:
                    self._admit(front)
            else:
                self.handshakes_failed += 1

    def _admit(self, front: int) -> None:
        """Have the next one accepted; if there are too many, as soon as one has gone."""
        if len(self._by_fd) >= self.most + ENDING:
            self._full.add(front)
            return
        self._full.discard(front)
        listener = self._listeners.get(front)
        if listener is not None and self._listens(listener.fd):
            listener.admit()

    def _unseen(self) -> None:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= allowed < self.most + SPARE + AHEAD:
            log.warning(
                "it cannot be seen in /proc who accepts connections: a flood of them can end "
                "this process, which may have %d open files. Allow %d or more (ulimit -Hn, "
                "LimitNOFILE=)",
                allowed,
                self.most + SPARE + AHEAD,
                extra={"action": "few_files", "allowed": allowed},
            )

    def _accepted(self, front: int, fd: int) -> None:
        self._settle()
        known = self._by_fd.get(fd)
        if known is not None:
            if known.front == front and _is_there(known):
                self._doubtful.discard(known)
                return  # what it said was read before that it came
            self._forget(known)
        connection = self._by_fd[fd] = Connection(fd, front)
        if len(self._by_fd) > self.most:
            self._shed(connection)

    def _lost(self, front: int, fd: int) -> None:
        self._settle()
        lost = self._by_fd.get(fd)
        if lost is None or lost.front != front:  # another socket's has the descriptor by now
            return
        if _is_there(lost):
            # It was one before that, or libzmq closes it in a moment: it tells before it does.
            self._doubtful.add(lost)
        else:
            self._forget(lost)

    def _settle(self) -> None:
        for connection in [c for c in self._doubtful if not _is_there(c)]:
            self._forget(connection)

    def _forget(self, lost: Connection) -> None:
        self._doubtful.discard(lost)
        if self._by_fd.get(lost.fd) is lost:
            del self._by_fd[lost.fd]
            if is_own(lost.route):
                self._gone[lost.front, lost.fd] = (lost.route, self._clock())
            self.on_lost(lost)
            if not lost.messages:
                self.on_wasted(lost.front)
            for front in tuple(self._full):
                self._admit(front)

    def _shed(self, connection: Connection) -> None:
        self.shed += 1
        self.end(connection)
        now = self._clock()
        if self._told_at is None or now - self._told_at >= QUIET_S:
            self._told_at = now
            log.warning(
                "more than %d connections of clients: further ones are closed (max_connections, or "
                "the limit of open files)",
                self.most,
                extra={"action": "connections_shed", "limit": self.most, "shed": self.shed},
            )

    def _came(self, front: int, origin: Origin, frames: int, size: int) -> Origin:
        """A message; its origin, with the mark of its connection.

        What a connection sent may come long after it has gone, when its descriptor is another's:
        that is nobody's, and ends nobody's connection.
        """
        connection = self._by_fd.get(origin.fd)
        if connection is not None and connection.front != front:
            connection = None
        if connection is None or connection.route != origin.route:
            gone_at = self._gone_at(front, origin, connection)
            if gone_at is not None:
                return origin._replace(gone_s=self._clock() - gone_at)
            if connection is None:  # of that we are told in a moment
                return origin._replace(mark=mark_of(origin.fd))
            connection = self._met(connection, origin)
        connection.messages += 1
        connection.frames += frames
        connection.bytes += size
        # _replace() takes more than twice as long.
        return Origin(origin.route, origin.who, origin.fd, origin.peer, connection.mark)

    def _gone_at(self, front: int, origin: Origin, connection: Connection | None) -> float | None:
        """When its connection was known to have gone, if it has."""
        last, gone_at = self._gone.get((front, origin.fd), (b"", self._clock()))
        if connection is not None and connection.route:
            last = connection.route  # of a later one, if it is not its own
        has_gone = is_own(last) and origin.is_ours and not is_later(origin.route, last)
        return gone_at if has_gone else None

    def _met(self, connection: Connection, origin: Origin) -> Connection:
        """A first message, by this connection or by the next one with that descriptor.

        libzmq tells of connections by another queue than the one by which messages come, which may
        be ahead.
        """
        if connection.route:
            self._forget(connection)
            connection = self._by_fd[origin.fd] = Connection(origin.fd, connection.front)
        connection.route = origin.route
        connection.peer = origin.peer
        connection.mark = mark_of(origin.fd)
        return connection

    def find(self, front: int, route: bytes) -> Connection | None:
        """The connection behind a route."""
        for connection in self._by_fd.values():
            if connection.route == route and connection.front == front:
                return connection
        return None

    # -- looking at one ----------------------------------------------------------------------------
    def end(self, connection: Connection) -> bool:
        """Disconnect it: libzmq finds it ended, and gives free what it holds for it.

        False if it has gone by itself, or was ended before: its descriptor may be another's by now.
        """
        if connection.ended:
            return False
        with _borrowed(connection.fd) as found:
            if found is None or not self._has(connection, found):
                return False
            connection.ended = True
            drop_nothing(found)  # else the kernel would keep it until its peer was heard
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return True

    def deafen(self, connection: Connection, *, deaf: bool) -> bool:
        """Have the kernel drop what it sends, or not any more; whether it could be done."""
        with _borrowed(connection.fd) as found:
            if found is None or not self._has(connection, found):
                return False
            return drop_data(found) if deaf else drop_nothing(found)

    def thin_out(self, front: int, halvings: int) -> bool:
        """Of new connections over TCP to a socket let in one of ``2 ** halvings``.

        Whether it could be done.
        """
        listener = self._listeners.get(front)
        if listener is None:
            return False
        with _borrowed(listener.fd) as found:
            if found is None or found.family == socket.AF_UNIX or not self._is_ours(found):
                return False
            return drop_newcomers(found, halvings) if halvings else drop_nothing(found)

    def rest(self, front: int, *, rests: bool) -> bool:
        """Have nobody accepted by a socket, or everybody again; whether it could be done."""
        listener = self._listeners.get(front)
        if listener is None or not self._listens(listener.fd):
            return False
        if rests:
            return listener.rest()
        listener.go_on()
        return True

    def received(self, connection: Connection) -> int:
        """Bytes that have come by it over TCP; 0 for others, of which nobody keeps count."""
        return _received(connection.fd)

    def pending(self, connection: Connection) -> int:
        """Bytes that wait in the kernel to be read."""
        return _pending(connection.fd)

    def look(self, connection: Connection) -> None:
        """Note whether it sends without finishing anything: ``pressure`` and ``unfinished``."""
        received = self.received(connection)
        if connection.messages != connection.seen:
            connection.seen = connection.messages
            connection.pressure = 0
            connection.started = received
        connection.unfinished = received - connection.started
        if self.pending(connection):
            connection.pressure += 1

    def who(self, connection: Connection) -> str:
        """Who is at the other end, for the log: by the kernel's word."""
        with _borrowed(connection.fd) as found:
            if found is None:
                return "a client that has gone"
            with contextlib.suppress(OSError):
                if found.family == socket.AF_UNIX:
                    raw = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
                    pid, uid, _gid = _UCRED.unpack(raw)
                    return f"process {pid} of user {uid}"
                host, port = found.getpeername()[:2]
                return f"{host}:{port}"
        return "a client"

    def _has(self, connection: Connection, found: socket.socket) -> bool:
        """Whether that socket, of its descriptor, is still it, as far as is known."""
        return (
            self._by_fd.get(connection.fd) is connection
            and self._is_ours(found)
            and (not connection.messages or _is_there(connection))
        )

    def _is_ours(self, found: socket.socket) -> bool:
        try:
            name = found.getsockname()
        except OSError:
            return False
        return (name[1] if isinstance(name, tuple) else name) in self._names

    def _listens(self, fd: int) -> bool:
        """Whether one of our sockets listens there; connections to it may have its name, too."""
        try:
            found = socket.socket(fileno=fd)  # no copy, for which there may be no room
        except OSError:
            return False
        try:
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return bool(listens) and self._is_ours(found)
        finally:
            found.detach()

    def close(self) -> None:
        """Before the watched sockets are closed."""
        self._listeners.clear()
        for front, monitor in filter(None, self._monitors):
            with front.lock:
                if not front.closed:  # that of TCP is closed as soon as its door is not kept
                    front.socket.disable_monitor()
            monitor.close()


def _is_there(connection: Connection) -> bool:
    """Whether its descriptor is still the one by which a message of it came."""
    return connection.mark != 0 and mark_of(connection.fd) == connection.mark


@contextlib.contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket | None]:
    """A second descriptor for the socket behind ``fd``; ``None`` if there is no such socket."""
    found: socket.socket | None = None
    try:
        copy = os.dup(fd)
        try:
            found = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
    except OSError:
        pass
    try:
        yield found
    finally:
        if found is not None:
            found.close()


def _received(fd: int) -> int:
    with _borrowed(fd) as found:
        if found is None or found.family == socket.AF_UNIX:
            return 0
        try:
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0])
        except (OSError, struct.error):
            return 0


def _pending(fd: int) -> int:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]
