"""What libzmq tells of the connections of a socket (``zmq_socket_monitor``)."""

from __future__ import annotations

import struct
from typing import Any, Final, Literal

import zmq

from agentd.transport.front import FrontPort
from agentd.transport.sockets import Port

__all__ = ["monitor_of", "read"]

_EVENTS: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT: Final = struct.Struct("=HI")


def monitor_of(front: FrontPort) -> Port:
    """The port to be served, from before the socket is bound."""
    monitor = Port(front.socket.get_monitor_socket(_EVENTS))
    monitor.socket.setsockopt(zmq.LINGER, 0)
    return monitor


def read(frames: list[Any]) -> tuple[Literal["accepted", "lost", "failed"], int]:
    """What happened, and the descriptor of the connection."""
    kind, fd = _EVENT.unpack(frames[0])
    if kind == zmq.EVENT_ACCEPTED:
        return "accepted", fd
    return ("lost" if kind == zmq.EVENT_DISCONNECTED else "failed"), fd
