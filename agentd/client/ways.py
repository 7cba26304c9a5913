"""The ways to a daemon: over ipc on this host, over TCP to another, and what each can promise."""

from __future__ import annotations

import os
import time
from typing import Any, Final, Protocol

from agentd.client.link import LinkDown, no_answer
from agentd.client.trust import is_own
from agentd.errors import AgentdError, AuthenticationFailed, ConfigError, DaemonNotFound
from agentd.keys import config_folder, load_pair, pin_for
from agentd.transport import rundir
from agentd.transport.curve import CurvePort, Keys
from agentd.transport.endpoint import is_tcp, parse_tcp

__all__ = ["Way", "dial_tcp", "way_to"]

LOOK_S: Final = 0.25
"""How often somebody who waits for a connection looks whether there is still a listener."""


class Way(Protocol):
    """How a daemon is reached."""

    local: bool
    """Whether its workers' own sockets, too, may be reached from here."""

    def is_listening(self) -> bool:
        """Whether there is any use in trying; does not wait."""

    def nobody(self) -> str:
        """What to tell whoever finds that nobody is listening."""

    def is_trusted(self) -> bool:
        """Whether what comes this way may be unpickled: whether it may run code here."""


def way_to(endpoint: str) -> Way:
    """The way; ``ConfigError`` for what is no endpoint, or for a server that is not trusted."""
    return _Tcp(endpoint) if is_tcp(endpoint) else _Ipc(endpoint)


class _Ipc:
    local = True

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._path = rundir.ipc_path(endpoint)

    def is_listening(self) -> bool:
        return rundir.is_listening(self._path)

    def nobody(self) -> str:
        if rundir.is_closed(self._path):
            return (
                f"this process, which runs as uid {os.geteuid()}, may not connect to "
                f"{self._endpoint}: its folder or socket is closed to that user"
            )
        return f"no daemon listens on {self._endpoint}; start one with: agentd serve"

    def is_trusted(self) -> bool:
        # Nobody else can have put a socket there, nor can tomorrow; and it is ours who listens.
        return is_own(self._path) and rundir.listener(self._path) == os.geteuid()


class _Tcp:
    local = False

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        parse_tcp(endpoint)
        _keys(endpoint)  # without them there is no use in beginning

    def is_listening(self) -> bool:
        return True  # to look is to connect

    def nobody(self) -> str:
        return f"no daemon answers at {self._endpoint}"

    def is_trusted(self) -> bool:
        return pin_for(config_folder(), self._endpoint).code


def _keys(endpoint: str) -> Keys:
    """Read each time: they may have been changed since."""
    folder = config_folder()
    pair = load_pair(folder, "client")
    return Keys(pair.public, pair.secret, pin_for(folder, endpoint).key)


def dial_tcp(context: Any, endpoint: str, timeout: float) -> CurvePort:
    """A connection to a daemon elsewhere, made within the time.

    Raises ``DaemonNotFound``, ``AuthenticationFailed``, ``ConfigError``; ``LinkDown`` if it broke
    at once.
    """
    deadline = time.monotonic() + timeout
    keys = _keys(endpoint)
    try:
        addresses = parse_tcp(endpoint).addresses()
    except ConfigError as error:
        raise DaemonNotFound(error.message, endpoint=endpoint) from None
    failure: AgentdError = no_answer(endpoint)
    for address in addresses:  # a name may stand for several, of which one answers
        port = CurvePort(context, str(address), keys, endpoint)
        found = _wait(port, endpoint, deadline)
        if found is None:
            return port
        port.close()
        failure = found
        if isinstance(failure, AuthenticationFailed):
            break
    raise failure


def _wait(port: CurvePort, endpoint: str, deadline: float) -> AgentdError | None:
    """Wait until it is connected; why it is not."""
    while not port.wait_connected(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
        if port.has_broken():
            broke = LinkDown(f"the connection to {endpoint} broke", endpoint=endpoint)
            return port.why() or broke
        if time.monotonic() >= deadline:
            return no_answer(endpoint)
    return None
