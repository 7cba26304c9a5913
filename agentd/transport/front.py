"""The sockets that clients come to: each message arrives with who sent it, as proven.

``who`` is never what a client says of itself: over ipc it is what the kernel tells of the process
at the other end (``uid:1000``), over TCP what the authenticator made of the key that the peer has
proven to have (``key:…``). They are bounded where libzmq can be, and watched where it cannot (see
``connections``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import zmq

from agentd.transport.origin import NOBODY, Origin
from agentd.transport.sockets import BIG, Port, router

__all__ = ["RECEIVE_HWM", "FrontPort", "front_socket"]

RECEIVE_HWM: Final = 64
"""Messages of one client that wait here to be read; the others wait on its side."""

_POLLIN: Final = int(zmq.POLLIN)
_NOBLOCK: Final = int(zmq.NOBLOCK)


def front_socket(context: zmq.Context[Any], *, max_frame: int, handshake_s: float) -> Any:
    """A ROUTER for clients; one that sends a longer frame is disconnected by libzmq."""
    socket = router(context)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame)
    socket.setsockopt(zmq.HANDSHAKE_IVL, max(1, int(handshake_s * 1000)))
    socket.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    return socket


class FrontPort(Port):
    """A ROUTER for clients. Of each message the first part is its ``Origin``."""

    def __init__(self, socket: Any, kind: Literal["ipc", "tcp"]) -> None:
        super().__init__(socket)
        self.kind = kind
        self._who = _user if kind == "ipc" else _holder
        self.on_message: Callable[[int, bytes, int], None] = lambda _fd, _route, _size: None
        """Called with descriptor, route and bytes of each message, before it is delivered."""

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """See ``Port``."""
        socket = self.socket
        messages: list[list[Any]] = []
        if self.closed:
            return messages, False
        while len(messages) < most:
            if not socket.getsockopt(zmq.EVENTS) & _POLLIN:
                return messages, False
            parts = socket.recv_multipart(_NOBLOCK, copy=False)
            last = parts[-1]  # metadata of all parts is that of the connection; it is kept longest
            message: list[Any] = [p.bytes if len(p) < BIG else p.buffer for p in parts]
            origin = Origin(bytes(message[0]), self._who(last), _descriptor(last))
            self.on_message(origin.fd, origin.route, sum(map(len, message)))
            message[0] = origin
            messages.append(message)
        return messages, True


def _user(frame: Any) -> str:
    """``Peer-Address`` of an ipc peer is ``localhost:UID:GID:PID``, told by the kernel.

    No peer can set it (measured, 4.3.5). The process id is of no use: it may be reused.
    """
    try:
        parts = frame.get("Peer-Address").split(":")
    except zmq.ZMQError:
        return NOBODY
    return f"uid:{parts[1]}" if len(parts) == 4 and parts[1].isdecimal() else NOBODY


def _holder(frame: Any) -> str:
    """``User-Id`` is what the authenticator said, without which nobody gets in here."""
    try:
        who = str(frame.get("User-Id"))
    except zmq.ZMQError:
        return NOBODY
    return who if who.startswith("key:") else NOBODY


def _descriptor(frame: Any) -> int:
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1
