"""A worker's door to the network: its sockets over TCP, and who keeps it.

CURVE, with a pair of keys that this process made for itself, and an authenticator. It was seen to
refuse a stranger before anybody is told of it. Imported only where workers have such doors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import zmq

from agentd.errors import AgentdError, ConfigError
from agentd.transport.connections import Connections, most_connections
from agentd.transport.curve import bind_to, check_library, new_pair, server_socket
from agentd.transport.endpoint import TcpEndpoint
from agentd.transport.front import FrontPort
from agentd.transport.keeper import Keeper
from agentd.transport.loop import Loop
from agentd.transport.sockets import new_context
from agentd.transport.zap import Decide

__all__ = ["Door"]


class Door:
    """Opened once, closed once, in the thread of the loop."""

    def __init__(
        self,
        loop: Loop,
        hosts: Sequence[str],
        ports: tuple[int, int],
        decide: Decide,
        *,
        handshake_s: float,
        max_connections: int,
    ) -> None:
        """Bind to numeric addresses, at the first port of a range that is free on all of them.

        Serves nobody yet. Raises ``ConfigError`` or ``OSError`` if it cannot be opened: then
        nothing is left of it.
        """
        check_library()
        self._loop = loop
        self._hosts = hosts
        self.port = 0
        self.key, self._secret = new_pair()
        self.connections = Connections(most_connections(max_connections), loop.clock)
        self.fronts: list[FrontPort] = []
        self._monitors: list[Any] = []
        self._context = new_context()
        self.on_shut: Callable[[AgentdError], None] = lambda _why: None
        """Called when nobody keeps it any more. Perhaps more than once."""
        self._keeper = Keeper(self._context, decide, self._unkept, handshake_s)
        try:
            for host in hosts:
                self._add(host, handshake_s)
            self._bind(*ports)
            here = [str(TcpEndpoint(host, self.port).here) for host in hosts]
            self._keeper.watch(here, self.key)
        except BaseException:
            self.close()
            raise

    def _add(self, host: str, handshake_s: float) -> None:
        socket = server_socket(
            self._context,
            self._secret,
            ipv6=":" in host,
            handshake_s=handshake_s,
        )
        front = FrontPort(socket, "tcp")
        self.fronts.append(front)
        self._monitors.append(self.connections.watch(front))

    def _bind(self, low: int, high: int) -> None:
        for port in range(low, high + 1):
            if self._has_bound(port):
                self.port = port
                self.connections.bound(port)
                return
        raise ConfigError(f"no port from {low} to {high} is free")

    def _has_bound(self, port: int) -> bool:
        bound: list[tuple[FrontPort, str]] = []
        try:
            for front, endpoint in self._endpoints(port):
                bound.append((front, bind_to(front.socket, endpoint)))
        except FileExistsError:
            for front, endpoint in bound:
                front.socket.unbind(endpoint)
            return False
        return True

    def _endpoints(self, port: int) -> list[tuple[FrontPort, str]]:
        addresses = [str(TcpEndpoint(host, port)) for host in self._hosts]
        return list(zip(self.fronts, addresses, strict=True))

    def serve(self, deliver: Callable[[int, list[Any]], None]) -> None:
        """From now on messages are delivered, with the number of the socket they came by."""
        for number, front in enumerate(self.fronts):
            events = partial(self.connections.events, number)
            self._loop.serve(self._monitors[number], events)
            self._loop.serve(front, partial(deliver, number))

    def let_wait(self, waits: Callable[[str], float]) -> None:
        """See ``Keeper``."""
        self._keeper.let_wait(waits)

    def _unkept(self, why: AgentdError) -> None:
        """In some thread."""
        self._loop.call_soon(partial(self._shut, why))

    def _shut(self, why: AgentdError) -> None:
        """Nobody keeps it any more: whoever is in must go."""
        self.on_shut(why)
        for front, endpoint in self._endpoints(self.port):
            with front.lock, suppress(zmq.ZMQError):
                front.socket.unbind(endpoint)
        for connection in self.connections:
            self.connections.end(connection)

    def close(self, linger_ms: int = 0) -> None:
        """All of it; answers on their way are kept for so long at most."""
        self._keeper.look_no_more()
        self.connections.close()
        for front in self.fronts:
            front.close(linger_ms)
        if self._keeper.stop():
            self._context.term()
