"""A zmq socket that many threads share, and the ways of opening one.

libzmq sockets belong to one thread at a time; a lock with its full memory fence may hand them on.
libzmq signals input on a descriptor that is edge-triggered: any send or receive may swallow the
signal. So there is one rule: **whoever used the socket reads the input that is waiting, or wakes
somebody who will.** ``send`` and ``receive`` tell whether there is some.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import zmq

from agentd.errors import AgentdError
from agentd.transport.pieces import cut, join
from agentd.transport.unreachable import Unreachable

__all__ = [
    "BIG",
    "DealerPort",
    "Port",
    "admit_only",
    "contents",
    "dealer",
    "new_context",
    "router",
    "take_parts",
]

BIG: Final = 64 * 1024
"""Frames from this size on are neither copied when sent nor when received: below, a copy costs
less than libzmq's bookkeeping for a foreign buffer."""

_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


def notice(socket: Any) -> None:
    """Have libzmq see from which peers there is something now.

    It does so when there is nothing (more) from those it knows of, and else from time to time
    only: somebody new would have to wait.
    """
    socket.getsockopt(_EVENTS)


def take_parts(socket: Any) -> list[Any]:
    """All parts of the next message; raises ``zmq.Again`` if there is none.

    ``recv_multipart`` would ask the socket after each part whether there are more of them, which
    takes longer than to receive it.
    """
    part = socket.recv(_NOBLOCK, copy=False)
    parts = [part]
    while part.more:
        part = socket.recv(_NOBLOCK, copy=False)
        parts.append(part)
    return parts


def contents(parts: Sequence[Any]) -> list[Any]:
    """What is in them; of long ones a view."""
    return [part.bytes if len(part) < BIG else part.buffer for part in parts]


class Port:
    """One socket and the lock that protects it; any thread may call any method."""

    in_pieces = False
    """Whether long frames go in pieces, in both directions: see ``pieces``."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket  # Any: pyzmq types each option as int or bytes, whichever it is
        self.lock = threading.Lock()
        self.fd: int = socket.getsockopt(zmq.FD)
        self.closed = False

    def send(self, frames: Sequence[Any]) -> bool:
        """Send all frames or, raising ``Unreachable``, none; True if input is waiting now."""
        with self.lock:
            return self.send_locked(frames)

    def send_locked(self, frames: Sequence[Any]) -> bool:
        """``send`` for a caller that holds the lock."""
        self.give_locked(frames)
        return bool(self.socket.getsockopt(_EVENTS) & _POLLIN)

    def give_locked(self, frames: Sequence[Any]) -> None:
        """The same, and nobody looks whether input is waiting."""
        socket = self.socket
        if self.in_pieces:
            frames = cut(frames)
        last = len(frames) - 1
        try:
            for index, frame in enumerate(frames):
                flags = _MORE if index < last else _NOBLOCK
                if type(frame) is bytes:
                    socket.send(frame, flags, copy=len(frame) < BIG)
                else:
                    # libzmq sends later, from its own thread: what may change until then is copied.
                    view = memoryview(frame)
                    socket.send(frame, flags, copy=view.nbytes < BIG or not view.readonly)
        except zmq.ZMQError as error:
            # libzmq takes a message whole or refuses it at its first frame, where the pipe is
            # chosen and its room checked.
            raise Unreachable(str(error)) from None

    def receive(self, most: int) -> tuple[list[list[Any]], bool]:
        """Up to ``most`` messages without waiting, and whether there may be more."""
        with self.lock:
            return self.receive_locked(most)

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """``receive`` for a caller that holds the lock."""
        socket = self.socket
        messages: list[list[Any]] = []
        if self.closed:
            return messages, False
        notice(socket)
        try:
            while len(messages) < most:
                frames = contents(take_parts(socket))
                messages.append(join(frames) if self.in_pieces else frames)
        except zmq.Again:  # it has looked for more, so that no signal is lost
            return messages, False
        return messages, True

    def rest_s(self) -> float:
        """How long the loop may leave here what is waiting, unless ``fd`` tells of more."""
        return 0.0

    def close(self, linger_ms: int = 0) -> None:
        """Close it; what was not sent yet is kept for ``linger_ms`` at most."""
        with self.lock:
            self.close_locked(linger_ms)

    def close_locked(self, linger_ms: int = 0) -> None:
        """``close`` for a caller that holds the lock."""
        if not self.closed:
            self.closed = True
            self.socket.close(linger_ms)


def router(context: zmq.Context[Any]) -> Any:
    """A ROUTER that reports what it cannot deliver instead of dropping it (it does by default)."""
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2000)
    return socket


def admit_only(socket: Any, uid: int) -> None:
    """Of an ipc socket, before it is bound: the kernel tells who connects, others are cut off."""
    socket.setsockopt(zmq.IPC_FILTER_UID, uid)


class DealerPort(Port):
    """The client's end of one connection to a daemon: a DEALER, and a watch on its connection.

    It tries once: libzmq would connect again by itself, and call somebody else than was meant, long
    after the caller gave up. It takes nothing while it is not connected.
    """

    level = False
    """``fd`` tells of something new once, and then of nothing until all of it was received."""

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        """Begin to connect."""
        super().__init__(self._socket(context))
        self.endpoint = endpoint
        self._monitor: Any = self.socket.get_monitor_socket(_WATCHED)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._met = False
        self._seen: set[int] = set()
        """Events after which it is of no use."""
        self.fds: tuple[int, ...] = (self.fd, self._monitor.getsockopt(zmq.FD))
        self.socket.connect(endpoint)

    def _socket(self, context: zmq.Context[Any]) -> Any:
        """With its options set, as those set later do not count for a connection."""
        return dealer(context)

    def send_locked(self, frames: Sequence[Any]) -> bool:
        """See ``Port``."""
        if self.has_broken() or not self._met:
            raise Unreachable("it is not connected")
        return super().send_locked(frames)

    @property
    def was_taken(self) -> bool:
        """Whether somebody accepted the connection, for a moment at least. As last looked at."""
        return self._met or bool(self._seen - {zmq.EVENT_CLOSED})

    def why(self) -> AgentdError | None:
        """Why nobody was met, where that can be told; ``None``: the connection just broke."""
        return None

    def has_broken(self) -> bool:
        """Whether it broke, or came to nothing. Under the lock; does not wait."""
        while not self.closed and self._monitor.getsockopt(_EVENTS) & _POLLIN:
            event = int.from_bytes(self._monitor.recv_multipart(_NOBLOCK)[0][:2], "little")
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._met = True
            else:
                self._seen.add(event)
        return bool(self._seen)

    def wait_connected(self, seconds: float) -> bool:
        """Whether messages can be sent, waiting for it; only before others use the port.

        Ends early if the connection broke before it was one.
        """
        until = time.monotonic() + seconds
        while not self.has_broken() and not self._met:
            left = until - time.monotonic()
            if left <= 0 or not self._monitor.poll(max(1, int(left * 1000))):
                break
        return self._met and not self.has_broken()

    def close_locked(self, linger_ms: int = 0) -> None:
        """See ``Port``."""
        if not self.closed:
            self.socket.disable_monitor()
            self._monitor.close(0)
        super().close_locked(linger_ms)


_WATCHED: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
)
NEVER_MS: Final = 2**31 - 1


def dealer(context: zmq.Context[Any]) -> Any:
    """A DEALER that connects once.

    libzmq has options for that (``ZMQ_IMMEDIATE``; a ``ZMQ_RECONNECT_IVL`` of -1). With either it
    takes away what is not read yet as soon as the connection breaks, also from the middle of a
    message, and then aborts the process (measured, 4.3.5: ``fq.cpp`` asserts ``!_more``).
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    return socket


def new_context() -> zmq.Context[Any]:
    """A context with its one I/O thread; a process needs one, a forked child another."""
    return zmq.Context()
