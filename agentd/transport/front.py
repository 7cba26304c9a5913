"""The socket by which clients come, bounded where libzmq can be, and watched where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import zmq

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
    """A port that tells by which connection each message came."""

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
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
            fd = parts[-1].get(zmq.SRCFD)
            frames = [part.bytes if len(part) < BIG else part.buffer for part in parts]
            self.on_message(fd, frames[0], sum(map(len, frames)))
            messages.append(frames)
        return messages, True
