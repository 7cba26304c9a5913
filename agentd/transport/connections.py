"""The connections of clients: how many there are, whose, what came by them; and how to end one.

libzmq tells of none of this by itself, and bounds none of it. Its monitor does tell of each
connection that it accepts and loses, with the descriptor: one that is too many is ended by that.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agentd.transport.counted import Counted
from agentd.transport.filters import drop_data, drop_nothing
from agentd.transport.listeners import ENDING, SPARE, Listeners
from agentd.transport.origin import Origin, is_later, is_own, mark_of
from agentd.transport.sockinfo import borrowed, pending_at, received_by, who_is_at

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort
    from agentd.transport.localfront import LocalFront
    from agentd.transport.sockets import Port

__all__ = ["QUIET_S", "Connection", "Connections", "most_connections"]

log = logging.getLogger("agentd.transport")

WORKER: Final = 6
"""What a daemon has for each worker, besides (measured)."""
SHARE: Final = 0.8
"""Of the descriptors that the system allows, for connections; the rest is for workers and files."""
QUIET_S: Final = 10.0
"""What many connections do is told in the log once in this time."""


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
        self.listeners = Listeners(lambda: len(self._by_fd) < self.most + ENDING, most)
        self._monitors: list[tuple[FrontPort, Port] | None] = []
        self._told_at: float | None = None
        self.on_lost: Callable[[Connection], None] = lambda _connection: None
        self.on_wasted: Callable[[int], None] = lambda _front: None
        """Called with the number of its socket of each one by which no message had come."""
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
        self.listeners.names.append(name)

    def events(self, front: int, heads: list[bytes]) -> None:
        """What a monitor tells, the oldest first."""
        from agentd.transport.monitor import read

        for kind, fd in map(read, heads):
            if kind == "accepted":
                self._accepted(front, fd)
                self.listeners.admit(front)
            elif kind == "lost":
                self._lost(front, fd)
            elif kind == "listening":
                self.listeners.add(front, fd)
            elif kind == "refused":
                self.listeners.refused(front, fd)
            else:
                self.handshakes_failed += 1

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
            self.listeners.left()

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
        with borrowed(connection.fd) as found:
            if found is None or not self._has(connection, found):
                return False
            connection.ended = True
            drop_nothing(found)  # else the kernel would keep it until its peer was heard
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return True

    def deafen(self, connection: Connection, *, deaf: bool) -> bool:
        """Have the kernel drop what it sends, or not any more; whether it could be done."""
        with borrowed(connection.fd) as found:
            if found is None or not self._has(connection, found):
                return False
            return drop_data(found) if deaf else drop_nothing(found)

    def received(self, connection: Connection) -> int:
        """Bytes that have come by it over TCP; 0 for others, of which nobody keeps count."""
        return received_by(connection.fd)

    def pending(self, connection: Connection) -> int:
        """Bytes that wait in the kernel to be read."""
        return pending_at(connection.fd)

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
        return who_is_at(connection.fd)

    def _has(self, connection: Connection, found: socket.socket) -> bool:
        """Whether that socket, of its descriptor, is still it, as far as is known."""
        return (
            self._by_fd.get(connection.fd) is connection
            and self.listeners.is_ours(found)
            and (not connection.messages or _is_there(connection))
        )

    def close(self) -> None:
        """Before the watched sockets are closed."""
        self.listeners.clear()
        for front, monitor in filter(None, self._monitors):
            with front.lock:
                if not front.closed:  # that of TCP is closed as soon as its door is not kept
                    front.socket.disable_monitor()
            monitor.close()


def _is_there(connection: Connection) -> bool:
    """Whether its descriptor is still the one by which a message of it came."""
    return connection.mark != 0 and mark_of(connection.fd) == connection.mark
