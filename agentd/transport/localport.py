"""One connection within a host, for the side that made it.

Calls between a client and a worker of the same host go this way. libzmq hands each message to a
thread of its own and back on either side, which is most of what a small call costs over it (see
docs/decisions); it also has no bound that holds for what a peer may make it keep. The ports here
have the members of ``sockets.Port``.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from agentd.transport.unreachable import Unreachable
from agentd.transport.wire import Broken, Wire

__all__ = ["MAX_MESSAGE", "MAX_QUEUED", "LocalPort", "flush_for"]

MAX_MESSAGE: Final = 4 * 1024**3
"""Bytes of one message, unless told otherwise."""
MAX_QUEUED: Final = 1024**3
"""Bytes that wait for one peer, unless told otherwise; one who is further behind is cut off."""
_IN: Final = select.EPOLLIN
_INOUT: Final = select.EPOLLIN | select.EPOLLOUT


class LocalPort:
    """One connection; any thread may call any method.

    ``fd`` is readable when there is something to ``receive``, and also when what waits in the
    outbox can be sent: ``receive`` does that, too.
    """

    level = True
    """``fd`` is readable for as long as there is something to ``receive``."""

    def __init__(
        self,
        connected: socket.socket,
        *,
        most: int = MAX_MESSAGE,
        most_queued: int = MAX_QUEUED,
        shares: bool = False,
    ) -> None:
        self._wire = Wire(connected, most, shares=shares, begins=shares)
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
        self._watch()

    def _watch(self) -> None:
        """Be told when what waits can be sent."""
        if self._wire.queued and not self._writing:
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
                if self._wire.replies:
                    self._wire.reply()
                    self._watch()
        except Broken as error:
            self.broken = str(error)
        if self.broken:
            self._wire.part()
            with contextlib.suppress(OSError):
                self._epoll.unregister(self._socket_fd)  # it would be readable for ever
        return messages, more

    def has_broken(self) -> bool:
        """Whether the connection has ended, as far as ``receive`` has seen."""
        return bool(self.broken)

    def rest_s(self) -> float:
        """How long the loop may leave here what is waiting."""
        return 0.0

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
            flush_for([self._wire], linger_ms / 1000)
        self._epoll.close()
        self._wire.close()


def flush_for(wires: list[Wire], seconds: float) -> None:
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
