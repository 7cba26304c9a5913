"""What libzmq tells of the connections of a socket: who came, who went, who never got in.

The queue of these events holds 1,000; while it is full libzmq's thread *waits*, and with it all
messages of all clients. So it is emptied whole whenever it is looked at, and at little cost.
"""

from __future__ import annotations

from typing import Any, Final

import zmq

from agentd.transport.sockets import Port

__all__ = ["MonitorPort"]

_NOBLOCK: Final = int(zmq.NOBLOCK)
AT_ONCE: Final = 4_000
"""Even somebody who connects faster than that does not keep us here for ever."""


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
