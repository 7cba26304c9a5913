"""What libzmq tells of the connections of a socket: who came, who went, who never got in.

The queue of these events holds 1,000; while it is full libzmq's thread *waits*, and with it all
messages of all clients. So it is emptied whole whenever it is looked at, and at little cost.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Literal

import zmq

from agentd.transport.sockets import Port

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["MonitorPort", "monitor_of", "read"]

_NOBLOCK: Final = int(zmq.NOBLOCK)
AT_ONCE: Final = 4_000
"""Even somebody who connects faster than that does not keep us here for ever."""
_EVENTS: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT: Final = struct.Struct("=HI")
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)


class MonitorPort(Port):
    """The receiving end of a monitor. Each message is one event: its head, without the endpoint."""

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """See ``Port``; all there is, however little is asked for."""
        messages: list[list[Any]] = []
        if self.closed:
            return messages, False
        receive = self.socket.recv
        try:
            while len(messages) < AT_ONCE:
                head = receive(_NOBLOCK)
                receive(_NOBLOCK)  # the endpoint
                messages.append([head])
        except zmq.Again:
            return messages, False
        return messages, True


def monitor_of(front: FrontPort) -> MonitorPort:
    """The port to be served, from before the socket is bound."""
    monitor = MonitorPort(front.socket.get_monitor_socket(_EVENTS))
    monitor.socket.setsockopt(zmq.LINGER, 0)
    return monitor


def read(frames: list[Any]) -> tuple[Literal["accepted", "lost", "failed"], int]:
    """What happened, and the descriptor of the connection."""
    kind, fd = _EVENT.unpack(frames[0])
    if kind == _ACCEPTED:
        return "accepted", fd
    return ("lost" if kind == _DISCONNECTED else "failed"), fd
