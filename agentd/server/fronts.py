"""Where clients come in: the sockets of a daemon, and what must hold before one is opened.

Over ipc the kernel tells who comes, and the folder keeps others out. TCP, loopback included (every
user and every container of the host can reach it), is opened only with a key pair of this daemon,
an authenticator that has just been seen to refuse a stranger, and somebody to let in. No setting
overrides that.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agentd.errors import AgentdError, ConfigError, EndpointInUse
from agentd.transport.local import listen
from agentd.transport.localfront import LocalFront
from agentd.transport.portions import Portions
from agentd.transport.rundir import is_tcp

if TYPE_CHECKING:  # ZeroMQ, and what TCP alone needs, are imported where they are opened
    from agentd.keys import GrantBook, Pair
    from agentd.transport.endpoint import TcpEndpoint
    from agentd.transport.front import FrontPort
    from agentd.transport.keeper import Keeper

__all__ = ["Fronts", "private_umask", "split"]

log = logging.getLogger("agentd.server")


def split(binds: tuple[str, ...], default: str) -> tuple[list[str], list[TcpEndpoint]]:
    """The ipc endpoints, one at least, and those of TCP; ``ConfigError`` for what is neither.

    The daemon's own user and its workers always come by ipc.
    """
    tcp = [_parsed(endpoint) for endpoint in binds if is_tcp(endpoint)]
    return [endpoint for endpoint in binds if not is_tcp(endpoint)] or [default], tcp


class Fronts:
    """The sockets that clients come to. All methods belong to the thread of the loop."""

    def __init__(
        self,
        book: GrantBook,
        tcp: list[TcpEndpoint],
        folder: str,
        *,
        max_frame: int,
        handshake_s: float,
        portions: Portions,
    ) -> None:
        """Look whether all may be opened; ``ConfigError`` if not. Opens nothing yet.

        ``folder``: where the daemon's keys lie.
        """
        self._book = book
        self._max_frame = max_frame
        self._handshake_s = handshake_s
        self._portions = portions
        self.on_open: Callable[[FrontPort | LocalFront], None] = lambda _port: None
        """Called with each socket before it is bound."""
        self.on_bound: Callable[[str | int], None] = lambda _name: None
        """Called with the path or the port where one of them listens now."""
        self._pair: Pair | None = None
        self._tcp: list[TcpEndpoint] = []
        self._open_to_users: list[str] = []
        self._keeper: Keeper | None = None
        self._told = False
        self.ports: list[FrontPort | LocalFront] = []
        self.endpoints: list[str] = []
        """Of TCP, as they were bound: with the port that the system chose."""
        if tcp:
            from agentd.keys import load_pair
            from agentd.transport.curve import check_library

            check_library()
            self._pair = load_pair(folder, "server")
            self._check_somebody_may_come(tcp[0])
            self._tcp = [address for endpoint in tcp for address in _addresses(endpoint)]

    @property
    def has_tcp(self) -> bool:
        """Whether there is TCP to be opened."""
        return bool(self._tcp)

    @property
    def tcp(self) -> tuple[TcpEndpoint, ...]:
        """Those of TCP, with numeric addresses, as they are to be bound."""
        return tuple(self._tcp)

    def _check_somebody_may_come(self, endpoint: TcpEndpoint) -> None:
        for alarm in self._book.alarms:
            log.warning("%s", alarm, extra={"action": "grant_alarm"})
        if not self._book.keys:
            why = f" ({'; '.join(self._book.alarms)})" if self._book.alarms else ""
            raise ConfigError(
                f"{endpoint} is not opened: no key is authorised that could come in{why}. Let one "
                "in with: agentctl keys add client.pub --role caller"
            )

    # -- opening -----------------------------------------------------------------------------------
    def open_unix(self, path: str, *, private: bool, most_queued: int) -> None:
        """Listen at a path whose lock is ours, without ZeroMQ.

        ``private``: in a folder that only we can enter. Elsewhere users with a grant may come.
        """
        port = LocalFront(
            listen(path),
            uids=self._may_knock,
            most=self._max_frame,
            most_queued=most_queued,
            portions=self._portions,
        )
        self.ports.append(port)
        self.on_open(port)
        self.on_bound(path)
        if not private:
            self._open_to_users.append(path)
            self.show_to_users()

    def _may_knock(self, uid: int) -> bool:
        return uid == os.geteuid() or self._book.grant_of(f"uid:{uid}") is not None

    def open_ipc(self, context: Any, path: str) -> None:
        """Bind to a path whose lock is ours, for our own user.

        No others, as it could be ended by them (see ``transport/curve.py``): it does have a
        high-water mark, as nobody counts what comes by it.
        """
        from agentd.transport.front import FrontPort, front_socket
        from agentd.transport.sockets import admit_only

        socket = front_socket(context, max_frame=self._max_frame, handshake_s=self._handshake_s)
        admit_only(socket, os.geteuid())
        port = FrontPort(socket, "ipc", self._portions)
        self.ports.append(port)
        self.on_open(port)
        with private_umask():
            socket.bind(f"ipc://{path}")
        self.on_bound(path)

    def open_tcp(self, context: Any, unkept: Callable[[AgentdError], None]) -> None:
        """Bind all of TCP and see that the door is kept, from now on every minute.

        ``unkept`` is called, in some thread, should it not be any more. Raises ``EndpointInUse``,
        ``ConfigError``.
        """
        if not self._tcp:
            return
        assert self._pair is not None
        from agentd.transport.keeper import Keeper

        self._keeper = Keeper(context, self._book.who_has, unkept, self._handshake_s)
        for address in self._tcp:
            self._bind(context, address, self._pair)
        here = [str(_parsed(endpoint).here) for endpoint in self.endpoints]
        self._keeper.watch(here, self._pair.public)

    def let_wait(self, waits: Callable[[str], float]) -> None:
        """See ``Keeper``."""
        if self._keeper is not None:
            self._keeper.let_wait(waits)

    def _bind(self, context: Any, address: TcpEndpoint, pair: Pair) -> None:
        from agentd.transport.curve import bind_to, server_socket
        from agentd.transport.front import FrontPort

        socket = server_socket(
            context,
            pair.secret,
            ipv6=":" in address.host,
            handshake_s=self._handshake_s,
        )
        port = FrontPort(socket, "tcp", self._portions)
        self.ports.append(port)
        self.on_open(port)
        try:
            self.endpoints.append(bind_to(port.socket, str(address)))
            self.on_bound(_parsed(self.endpoints[-1]).port)
        except FileExistsError:
            raise EndpointInUse(
                f"another program already listens on {address}; choose another --bind",
                endpoint=str(address),
            ) from None
        except OSError as error:
            raise ConfigError(f"{address} cannot be listened on: {error.strerror}") from error

    def show_to_users(self) -> None:
        """Let other users knock where some of them have a grant, and nowhere else."""
        others = self._book.others
        if others and not self._open_to_users and not self._told:
            self._told = True
            log.warning(
                "there are grants for other users of this host, but no socket for them: add "
                "--bind unix:///path/to/agentd.sock",
                extra={"action": "no_socket_for_users"},
            )
        mode = 0o666 if others else 0o600
        for path in self._open_to_users:
            with contextlib.suppress(OSError):
                os.chmod(path, mode)

    # -- closing -----------------------------------------------------------------------------------
    def close_tcp(self) -> None:
        """At once, with all connections."""
        for port in self.ports:
            if port.kind == "tcp":
                port.close()

    def close(self, linger_ms: int) -> bool:
        """All of it. False: the context must not be waited for, as one of its sockets is in use."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.look_no_more()
        for port in self.ports:
            port.close(linger_ms=linger_ms)
        return keeper is None or keeper.stop()


def _parsed(endpoint: str) -> TcpEndpoint:
    from agentd.transport.endpoint import parse_tcp

    return parse_tcp(endpoint)


def _addresses(endpoint: TcpEndpoint) -> list[TcpEndpoint]:
    found = endpoint.addresses()
    # Each address would get a port of its own, and clients know one.
    return found if endpoint.port else found[:1]


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Socket files open to us alone: libzmq makes them 0755 under the usual umask."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
