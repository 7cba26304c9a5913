"""What libzmq tells of the connections of a socket: who came, who went, who never got in.

The queue of these events holds 1,000; while it is full libzmq's thread *waits*, and with it all
messages of all clients. So they are read at little cost, many at a time; but not all that come of
somebody who connects without end, as messages wait for that, too.
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
AT_ONCE: Final = 50
"""Events in a turn of the loop: about a quarter of a millisecond of its time."""
_EVENTS: Final = (
    zmq.EVENT_LISTENING
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT: Final = struct.Struct("=HI")
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_REFUSED: Final = int(zmq.EVENT_ACCEPT_FAILED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
_LISTENING: Final = int(zmq.EVENT_LISTENING)

Kind = Literal["accepted", "refused", "lost", "failed", "listening"]


class MonitorPort(Port):
    """The receiving end of a monitor. A message is many events: their heads, without endpoints."""

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """See ``Port``; one message at most."""
        heads: list[Any] = []
        if self.closed:
            return heads, False
        receive = self.socket.recv
        try:
            while len(heads) < AT_ONCE:
                head = receive(_NOBLOCK)
                receive(_NOBLOCK)  # the endpoint
                heads.append(head)
        except zmq.Again:
            return [heads] if heads else [], False
        return [heads], True


def monitor_of(front: FrontPort) -> MonitorPort:
    """The port to be served, from before the socket is bound."""
    monitor = MonitorPort(front.socket.get_monitor_socket(_EVENTS))
    monitor.socket.setsockopt(zmq.LINGER, 0)
    return monitor


def read(head: bytes) -> tuple[Kind, int]:
    """What happened, and the descriptor of the connection, or of the socket that listens.

    Of one that could not be accepted, the error's number.
    """
    kind, fd = _EVENT.unpack(head)
    if kind == _ACCEPTED:
        return "accepted", fd
    if kind == _REFUSED:
        return "refused", fd
    if kind == _LISTENING:
        return "listening", fd
    return ("lost" if kind == _DISCONNECTED else "failed"), fd
