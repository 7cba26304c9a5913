"""CURVE: sockets that prove who is at the other end, by keys (ZeroMQ RFC 26).

A server socket refuses everybody unless an authenticator answers for its domain
(``ZMQ_ZAP_ENFORCE_DOMAIN``): without that option libzmq lets any key in while no authenticator
runs (measured, 4.3.5).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import zmq

from agentd.errors import AgentdError, AuthenticationFailed, ConfigError, DaemonNotFound
from agentd.transport.pieces import PIECE, SEAL
from agentd.transport.sockets import DealerPort, dealer

__all__ = [
    "DOMAIN",
    "CurvePort",
    "Keys",
    "bind_to",
    "check_library",
    "is_let_in",
    "new_pair",
    "public_of",
    "self_test",
    "server_socket",
]

DOMAIN: Final = "agentd"
HANDSHAKE_S: Final = 2.0
BEAT_MS: Final = 1_000
SILENCE_MS: Final = 3_000
KEEPALIVE_S: Final = 3
"""Before and, a third of it, between the kernel's probes of a connection that says nothing."""
UNHEARD_MS: Final = 30_000
"""What was sent and not confirmed for so long ends a connection: its host has gone."""
SEND_HWM: Final = 4_096
"""Messages that wait for a peer which does not read; then it is disconnected."""
OLDEST: Final = (4, 3, 5)
"""libzmq: those before have known holes that need no key."""


class Keys(NamedTuple):
    """What a client needs to meet one server: its own pair, and the key that is pinned."""

    public: bytes
    secret: bytes
    server: bytes


def check_library() -> None:
    """``ConfigError`` if the libzmq at hand must not be put on a network."""
    found = tuple(zmq.zmq_version_info()[:3])
    if not zmq.has("curve"):
        raise ConfigError("this libzmq was built without CURVE: no TCP without encryption")
    if found < OLDEST:
        raise ConfigError(
            f"libzmq {zmq.zmq_version()} has known holes; TCP needs "
            f"{'.'.join(map(str, OLDEST))} or newer"
        )


def new_pair() -> tuple[bytes, bytes]:
    """A public key and its secret, 32 bytes each."""
    public, secret = zmq.curve_keypair()
    return _plain(public), _plain(secret)


def public_of(secret: bytes) -> bytes:
    """The public key that goes with a secret."""
    from zmq.utils import z85

    return _plain(zmq.curve_public(z85.encode(secret)))


def _plain(text: bytes) -> bytes:
    from zmq.utils import z85

    return bytes(z85.decode(text))


def server_socket(
    context: zmq.Context[Any],
    secret: bytes,
    *,
    ipv6: bool = False,
    handshake_s: float = HANDSHAKE_S,
) -> Any:
    """A ROUTER for TCP, every option set before it is bound and read back."""
    socket: Any = context.socket(zmq.ROUTER)
    options: dict[int, Any] = {
        zmq.LINGER: 0,
        zmq.IPV6: int(ipv6),
        zmq.CURVE_SERVER: 1,
        zmq.CURVE_SECRETKEY: secret,
        zmq.ZAP_DOMAIN: DOMAIN.encode(),
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        zmq.HANDSHAKE_IVL: max(1, int(handshake_s * 1000)),
        # libzmq aborts the process where it stopped to read from a peer, the peer resets the
        # connection, and either a heartbeat of ours is due or one of the peer's was read already
        # (4.3.5, stream_engine_base.cpp: out_event asserts that there was no error). So there are
        # no heartbeats, and it never stops: see ``connections`` for what bounds it instead.
        zmq.HEARTBEAT_IVL: 0,
        zmq.RCVHWM: 0,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: KEEPALIVE_S,
        zmq.TCP_KEEPALIVE_INTVL: max(1, KEEPALIVE_S // 3),
        zmq.TCP_KEEPALIVE_CNT: 3,
        zmq.TCP_MAXRT: UNHEARD_MS,
        zmq.MAXMSGSIZE: PIECE + SEAL,  # who sends a longer frame is disconnected
        zmq.SNDHWM: SEND_HWM,
        zmq.BACKLOG: 4096,
    }
    try:
        for option, value in options.items():
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # cannot be read back
        for option, value in options.items():
            if option == zmq.CURVE_SECRETKEY:
                continue  # pyzmq cannot read keys; the self-test proves it
            found = socket.getsockopt(option)
            if found != value:
                raise ConfigError(f"libzmq did not take {zmq.SocketOption(option).name}")
        if socket.getsockopt(zmq.MECHANISM) != zmq.CURVE:
            raise ConfigError("libzmq did not take CURVE")
    except BaseException:
        socket.close(0)
        raise
    return socket


def bind_to(socket: Any, address: str) -> str:
    """Bind to a numeric address; the endpoint, with the port that it got.

    Raises ``FileExistsError`` if somebody else has it, another ``OSError`` if it is not ours.
    """
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise FileExistsError(error.errno, str(error.strerror), address) from None
        raise OSError(error.errno, str(error.strerror), address) from None
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


class CurvePort(DealerPort):
    """The client's end of a connection over TCP, which can tell why it came to nothing."""

    in_pieces = True

    def __init__(
        self, context: zmq.Context[Any], address: str, keys: Keys, endpoint: str = ""
    ) -> None:
        """Begin to connect to a numeric address; ``endpoint`` is what people call it."""
        self._keys = keys
        self._name = endpoint or address
        super().__init__(context, address)

    def _socket(self, context: zmq.Context[Any]) -> Any:
        socket = dealer(context)
        options: dict[int, Any] = {
            zmq.IPV6: 1,
            zmq.HANDSHAKE_IVL: int(HANDSHAKE_S * 1000),
            zmq.HEARTBEAT_IVL: BEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: SILENCE_MS,
            zmq.CURVE_PUBLICKEY: self._keys.public,
            zmq.CURVE_SECRETKEY: self._keys.secret,
            zmq.CURVE_SERVERKEY: self._keys.server,
        }
        for option, value in options.items():
            socket.setsockopt(option, value)
        return socket

    def why(self) -> AgentdError | None:
        """Why nobody was met, once it ``has_broken``; ``None``: the connection just broke."""
        if self._met:
            return None
        if zmq.EVENT_HANDSHAKE_FAILED_AUTH in self._seen:
            return AuthenticationFailed(
                f"{self._name} does not know this client's key (any more); it is let in there "
                "with: agentctl keys add",
                endpoint=self._name,
            )
        if _REFUSALS & self._seen:
            return AuthenticationFailed(
                f"{self._name} ended the handshake: its key is not the one that is pinned here, or "
                "it is no agentd daemon. If its key was changed on purpose: agentctl trust add",
                endpoint=self._name,
            )
        return DaemonNotFound(
            f"no daemon answers at {self._name}; is it running there, with --bind?",
            endpoint=self._name,
        )


_REFUSALS: Final = {zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL}


def self_test(
    context: zmq.Context[Any], address: str, server: bytes, known: Keys, limit_s: float
) -> None:
    """``ConfigError`` unless the door at ``address`` opens to a known key, and to no other."""
    for keys, expected in ((known, True), (Keys(*new_pair(), server), False)):
        if is_let_in(context, address, keys, limit_s) is not expected:
            what = "refuses a key it should know" if expected else "does not refuse strangers"
            raise ConfigError(f"{address} {what}: this daemon does not serve it")


def is_let_in(
    context: zmq.Context[Any],
    address: str,
    keys: Keys,
    limit_s: float,
    stopped: Callable[[], bool] = lambda: False,
) -> bool | None:
    """Whether the door at a numeric address opens; ``None``: not known within the time.

    From any thread. ``stopped``: whether to give up, asked ten times a second.
    """
    port = CurvePort(context, address, keys)
    try:
        until = time.monotonic() + limit_s
        while (left := until - time.monotonic()) > 0 and not stopped():
            if port.wait_connected(min(left, 0.1)):
                return True
            if port.has_broken():
                return False if isinstance(port.why(), AuthenticationFailed) else None
        return None
    finally:
        port.close()
