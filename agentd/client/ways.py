"""The ways to a daemon: over ipc on this host, over TCP to another, and what each can promise."""

from __future__ import annotations

import os
import time
from typing import Any, Final, Protocol

from agentd.client.link import LinkDown, no_answer
from agentd.errors import AgentdError, AuthenticationFailed, ConfigError, DaemonNotFound
from agentd.keys import config_folder, load_pair, pin_for
from agentd.transport import rundir
from agentd.transport.curve import CurvePort, Keys
from agentd.transport.endpoint import is_tcp, parse_tcp
from agentd.transport.sockets import DealerPort

__all__ = ["Way", "way_to"]

LOOK_S: Final = 0.25
"""How often somebody who waits for a connection looks whether there is still a listener."""


class Way(Protocol):
    """How a daemon is reached."""

    local: bool
    """Whether its workers' own sockets, too, may be reached from here."""

    def is_listening(self) -> bool:
        """Whether there is any use in trying; does not wait."""

    def dial(self, context: Any, timeout: float) -> DealerPort:
        """A connection, made within the time.

        Raises ``DaemonNotFound``, ``AuthenticationFailed``, ``ConfigError``; ``LinkDown`` if it
        broke at once.
        """

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

    def is_trusted(self) -> bool:
        return rundir.listener(self._path) == os.geteuid()

    def dial(self, context: Any, timeout: float) -> DealerPort:
        deadline = time.monotonic() + timeout
        port = DealerPort(context, self._endpoint)
        while not port.wait_connected(LOOK_S):
            broke = port.has_broken()
            # Its process may have ended since somebody last looked.
            listening = self.is_listening()
            if listening and not broke and time.monotonic() < deadline:
                continue
            port.close()
            if broke:
                raise LinkDown(f"the connection to {self._endpoint} broke", endpoint=self._endpoint)
            if listening:
                raise no_answer(self._endpoint)
            raise DaemonNotFound(
                f"nobody answers at {self._endpoint}; is the daemon running? Start one with: "
                "agentd serve",
                endpoint=self._endpoint,
            )
        return port


class _Tcp:
    local = False

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._where = parse_tcp(endpoint)
        self._keys()  # without them there is no use in beginning

    def is_listening(self) -> bool:
        return True  # to look is to connect

    def is_trusted(self) -> bool:
        return pin_for(config_folder(), self._endpoint).code

    def _keys(self) -> Keys:
        """Read each time: they may have been changed since."""
        folder = config_folder()
        pair = load_pair(folder, "client")
        return Keys(pair.public, pair.secret, pin_for(folder, self._endpoint).key)

    def dial(self, context: Any, timeout: float) -> DealerPort:
        deadline = time.monotonic() + timeout
        keys = self._keys()
        try:
            addresses = self._where.addresses()
        except ConfigError as error:
            raise DaemonNotFound(error.message, endpoint=self._endpoint) from None
        failure: AgentdError = no_answer(self._endpoint)
        for address in addresses:  # a name may stand for several, of which one answers
            port = CurvePort(context, str(address), keys, self._endpoint)
            found = self._wait(port, deadline)
            if found is None:
                return port
            port.close()
            failure = found
            if isinstance(failure, AuthenticationFailed):
                break
        raise failure

    def _wait(self, port: CurvePort, deadline: float) -> AgentdError | None:
        """Wait until it is connected; why it is not."""
        while not port.wait_connected(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
            if port.has_broken():
                return port.why() or LinkDown(
                    f"the connection to {self._endpoint} broke", endpoint=self._endpoint
                )
            if time.monotonic() >= deadline:
                return no_answer(self._endpoint)
        return None
