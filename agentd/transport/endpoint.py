"""Where a daemon listens: ``ipc:///absolute/path`` or ``tcp://HOST:PORT``, read in one place."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from agentd.errors import ConfigError

__all__ = ["TcpEndpoint", "parse_tcp"]

_TCP = re.compile(r"tcp://(?P<host>\[[^\[\]]+\]|[^:/\[\]]+):(?P<port>[0-9]{1,5})\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """``tcp://HOST:PORT``. ``host`` has no brackets; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    def addresses(self) -> list[TcpEndpoint]:
        """The numeric addresses of the host, in the system's order; ``ConfigError`` if none.

        libzmq binds to numeric addresses only and asks no name server itself. May wait for one.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not a host name"
            raise ConfigError(f"{self}: the host {self.host!r} cannot be found: {why}") from error
        hosts = dict.fromkeys(str(address[4][0]) for address in found)
        return [TcpEndpoint(host, self.port) for host in hosts]

    @property
    def here(self) -> TcpEndpoint:
        """The same, as it is reached from its own host: a wildcard is no address to connect to."""
        own = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound to
        return TcpEndpoint(own.get(self.host, self.host), self.port)


def parse_tcp(endpoint: str) -> TcpEndpoint:
    """Read it; ``ConfigError`` tells how to write it."""
    found = _TCP.match(endpoint)
    if found is None or int(found["port"]) > 65_535 or found["host"] == "*":
        raise ConfigError(
            f"{endpoint!r} is not an endpoint; write tcp://HOST:PORT, for all addresses "
            "tcp://0.0.0.0:PORT or tcp://[::]:PORT"
        )
    return TcpEndpoint(found["host"].strip("[]"), int(found["port"]))
