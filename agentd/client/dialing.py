"""Making a connection: to a daemon over ZeroMQ, on this host over stream sockets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agentd.client.pending import LinkDown, no_answer
from agentd.errors import DaemonNotFound
from agentd.transport import rundir
from agentd.transport.local import connect, wait_for_room
from agentd.transport.localport import LocalPort
from agentd.transport.rundir import is_tcp, is_unix

if TYPE_CHECKING:
    from agentd.client.runtime import Runtime
    from agentd.transport.sockets import DealerPort

__all__ = ["dial_daemon", "dial_worker"]

LOOK_S = 0.25
"""How often somebody who waits for a connection looks whether there is still a listener."""


def dial_daemon(runtime: Runtime, endpoint: str, timeout: float) -> DealerPort | LocalPort:
    """A connection to the daemon, made within the time.

    An embedded one listens as workers do. Raises ``DaemonNotFound``, or ``LinkDown`` if it broke at
    once; over TCP see ``dial_tcp``.
    """
    if is_tcp(endpoint):
        from agentd.client.tcp import dial_tcp

        return dial_tcp(runtime.context, endpoint, timeout)
    if is_unix(endpoint):
        return _dial(endpoint, rundir.ipc_path(endpoint), timeout, shares=False)
    from agentd.transport.sockets import DealerPort

    deadline = time.monotonic() + timeout
    path = rundir.ipc_path(endpoint)
    port = DealerPort(runtime.context, endpoint)
    while not port.wait_connected(LOOK_S):
        broke = port.has_broken()
        # Its process may have ended since somebody last looked.
        listening = rundir.is_listening(path)
        if listening and time.monotonic() < deadline:
            if not broke:
                continue
            if not port.was_taken:  # more wait to be accepted than may
                port.close()
                wait_for_room(path, min(LOOK_S, deadline - time.monotonic()))
                port = DealerPort(runtime.context, endpoint)
                continue
        port.close()
        if broke and port.was_taken:
            raise LinkDown(f"the connection to {endpoint} broke", endpoint=endpoint)
        if listening:
            raise _crowded(endpoint) if broke else no_answer(endpoint)
        raise DaemonNotFound(
            f"nobody answers at {endpoint}; is the daemon running? Start one with: agentd serve",
            endpoint=endpoint,
        )
    return port


def _crowded(endpoint: str) -> DaemonNotFound:
    return DaemonNotFound(
        f"so many wait to be let in by {endpoint} that there is no room for one more; try again in "
        "a moment",
        endpoint=endpoint,
    )


def dial_worker(address: str, timeout: float) -> LocalPort:
    """A connection to a worker; raises ``DaemonNotFound`` if nobody listens there."""
    return _dial(address, rundir.worker_path(address), timeout, shares=True)


def _dial(address: str, path: str, timeout: float, *, shares: bool) -> LocalPort:
    try:
        return connect(path, timeout, shares=shares)
    except BlockingIOError:
        raise no_answer(address) from None
    except OSError as error:
        raise DaemonNotFound(
            f"nobody answers at {address}: {error.strerror}", endpoint=address
        ) from None
