"""Who sent a message, as proven, and how his connection is ended."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

__all__ = ["NOBODY", "ROUTE_BYTES", "Address", "Origin", "disconnect", "mark_of"]

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

    @property
    def is_ours(self) -> bool:
        """Whether we or libzmq chose the route. One that a peer chose might have been another's."""
        return len(self.route) == ROUTE_BYTES and self.route[0] == 0


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
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return False
    finally:
        if own >= 0:
            os.close(own)
    return True
