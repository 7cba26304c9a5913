"""Making a connection: to a daemon over ZeroMQ, to a worker of this host over its own socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agentd.client.link import LinkDown, no_answer
from agentd.errors import DaemonNotFound
from agentd.transport import rundir
from agentd.transport.local import LocalPort, connect
from agentd.transport.rundir import is_tcp

if TYPE_CHECKING:
    from agentd.transport.sockets import DealerPort

__all__ = ["dial_daemon", "dial_worker"]

LOOK_S = 0.25
"""How often somebody who waits for a connection looks whether there is still a listener."""


def dial_daemon(context: Any, endpoint: str, timeout: float) -> DealerPort:
    """A connection to the daemon, made within the time.

    Raises ``DaemonNotFound``, or ``LinkDown`` if it broke at once; over TCP see ``dial_tcp``.
    """
    if is_tcp(endpoint):
        from agentd.client.tcp import dial_tcp

        return dial_tcp(context, endpoint, timeout)
    from agentd.transport.sockets import DealerPort

    deadline = time.monotonic() + timeout
    path = rundir.ipc_path(endpoint)
    port = DealerPort(context, endpoint)
    while not port.wait_connected(LOOK_S):
        broke = port.has_broken()
        # Its process may have ended since somebody last looked.
        listening = rundir.is_listening(path)
        if listening and not broke and time.monotonic() < deadline:
            continue
        port.close()
        if broke:
            raise LinkDown(f"the connection to {endpoint} broke", endpoint=endpoint)
        if listening:
            raise no_answer(endpoint)
        raise DaemonNotFound(
            f"nobody answers at {endpoint}; is the daemon running? Start one with: agentd serve",
            endpoint=endpoint,
        )
    return port


def dial_worker(address: str, timeout: float) -> LocalPort:
    """A connection to a worker; raises ``DaemonNotFound`` if nobody listens there."""
    try:
        return connect(rundir.worker_path(address), timeout)
    except (BlockingIOError, TimeoutError):
        raise no_answer(address) from None
    except OSError as error:
        raise DaemonNotFound(
            f"nobody answers at {address}: {error.strerror}", endpoint=address
        ) from None
