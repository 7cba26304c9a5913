"""Who sent a message, as proven, and how his connection is ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from agentd.transport.filters import drop_nothing

__all__ = [
    "NOBODY",
    "ROUTE_BYTES",
    "Address",
    "Noting",
    "Origin",
    "disconnect",
    "is_later",
    "is_own",
    "mark_of",
    "peer_of_key",
]

NOBODY: Final = ""
"""The ``who`` of a peer that nothing is known of; no grant is ever about it."""
ROUTE_BYTES: Final = 5
"""Of a route that we or libzmq made: a zero and a number of 32 bits."""


Address: TypeAlias = tuple[int, bytes]
"""Where to answer: the number of the socket by which a message came, and the route there."""


class Origin(NamedTuple):
    """Where a message came from."""

    route: bytes
    who: str
    fd: int
    """The connection's descriptor, now: soon it may be another's."""
    peer: str = ""
    """``who``, and by which process or from which address: never used to allow anything."""
    mark: int = 0
    """What tells that connection from a later one with its descriptor; 0: it has gone."""
    gone_s: float = 0.0
    """For how long it has been known to have gone."""

    @property
    def is_ours(self) -> bool:
        """Whether we or libzmq chose the route. One that a peer chose might have been another's."""
        return is_own(self.route)


Noting: TypeAlias = Callable[[Origin, int, int], Origin]
"""Told of each message its origin, its frames and their bytes; the origin, with its mark."""


def is_own(route: bytes) -> bool:
    """Whether we or libzmq chose it."""
    return len(route) == ROUTE_BYTES and route[0] == 0


def is_later(route: bytes, than: bytes) -> bool:
    """Whether it was given after the other one: both count up, and begin anew at 2^32."""
    return 0 < (int.from_bytes(route, "big") - int.from_bytes(than, "big")) % 2**32 < 2**31


def peer_of_key(who: str, address: object) -> str:
    """``Origin.peer`` of one who came over TCP, as libzmq tells its address."""
    return f"{who} {address}"


def mark_of(fd: int) -> int:
    """What tells a connection from a later one with the same descriptor; 0: there is none."""
    with suppress(OSError):
        return os.fstat(fd).st_ino
    return 0


def disconnect(fd: int, mark: int) -> bool:
    """End a connection, if the descriptor is still the one that had that ``mark``.

    Who owns the descriptor sees the end itself, as if the peer had gone.
    """
    if fd < 0 or not mark:
        return False
    try:
        own = os.dup(fd)
    except OSError:
        return False
    try:
        if os.fstat(own).st_ino != mark:
            return False
        with socket.socket(fileno=own) as connection:
            own = -1
            drop_nothing(connection)  # else the kernel would keep it until its peer was heard
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return False
    finally:
        if own >= 0:
            os.close(own)
    return True
