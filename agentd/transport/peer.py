"""Who is at the other end of a connection within a host, and what there is of him."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections import deque
from typing import Any, Final

from agentd.transport.wire import Wire

__all__ = ["Peer", "owner_of", "peer_of"]

_UCRED: Final = struct.Struct("3i")


class Peer:
    """One connection of a router."""

    __slots__ = (
        "broken",
        "came",
        "fd",
        "held_at",
        "lock",
        "owner",
        "resting",
        "route",
        "uid",
        "wire",
        "writing",
    )

    def __init__(self, wire: Wire, route: bytes, pid: int, uid: int) -> None:
        self.wire = wire
        self.route = route
        self.owner = owner_of(pid, uid)
        self.uid = uid
        self.fd = wire.socket.fileno()
        self.lock = threading.Lock()  # protects the outbox
        self.writing = False
        self.held_at = 0.0  # since when answers are held back; 0: none are
        self.came: deque[list[Any]] = deque()  # read already, and not its turn yet
        self.broken = False  # and nothing more to be read
        self.resting = False  # it owes: what it sends is left with it for a while

    @property
    def events(self) -> int:
        """What is to be told of its socket."""
        return (0 if self.resting else select.EPOLLIN) | (select.EPOLLOUT if self.writing else 0)


def owner_of(pid: int, uid: int) -> str:
    """Whose work it is: another connection does not make it another's.

    Of this user each program is one; another user could have any number of them.
    """
    return f"uid:{uid} pid:{pid}" if uid == os.geteuid() else f"uid:{uid}"


def peer_of(connected: socket.socket) -> tuple[int, int] | None:
    """Process and user at the other end, as the kernel knows them since it was connected."""
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    pid, uid, _gid = _UCRED.unpack(raw)
    return pid, uid
