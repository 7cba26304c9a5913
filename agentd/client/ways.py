"""The ways to a daemon: over ipc on this host, over TCP to another, and what each can promise."""

from __future__ import annotations

import os
from typing import Protocol

from agentd.client.trust import is_own
from agentd.transport import rundir
from agentd.transport.rundir import is_tcp

__all__ = ["Way", "way_to"]


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
    if not is_tcp(endpoint):
        return _Ipc(endpoint)
    from agentd.client.tcp import TcpWay

    return TcpWay(endpoint)


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
        return is_own(self._path)  # nobody else can have put a socket there, nor can tomorrow
