"""What the kernel knows of a socket that libzmq owns, by its descriptor.

Whatever is looked at may have gone, and its descriptor be another's: then there is nothing to see.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Final

__all__ = ["borrowed", "listens", "name_of", "pending_at", "received_by", "who_is_at"]

_UCRED: Final = struct.Struct("3i")
_BYTES_RECEIVED: Final = 128
"""Offset of ``tcpi_bytes_received`` in ``struct tcp_info`` (linux/tcp.h, since Linux 4.1)."""


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket | None]:
    """A second descriptor for the socket behind ``fd``; ``None`` if there is no such socket."""
    found: socket.socket | None = None
    try:
        copy = os.dup(fd)
        try:
            found = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
    except OSError:
        pass
    try:
        yield found
    finally:
        if found is not None:
            found.close()


def received_by(fd: int) -> int:
    """Bytes that have come over TCP; 0 where nobody keeps count of them."""
    with borrowed(fd) as found:
        if found is None or found.family == socket.AF_UNIX:
            return 0
        try:
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0])
        except (OSError, struct.error):
            return 0


def pending_at(fd: int) -> int:
    """Bytes that wait there to be read."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]


def who_is_at(fd: int) -> str:
    """Who is at the other end, for the log."""
    with borrowed(fd) as found:
        if found is None:
            return "a client that has gone"
        with contextlib.suppress(OSError):
            if found.family == socket.AF_UNIX:
                raw = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
                pid, uid, _gid = _UCRED.unpack(raw)
                return f"process {pid} of user {uid}"
            host, port = found.getpeername()[:2]
            return f"{host}:{port}"
    return "a client"


def name_of(found: socket.socket) -> str | int | None:
    """Where it is bound: the path of a socket, or a port of TCP."""
    try:
        name = found.getsockname()
    except OSError:
        return None
    bound: str | int = name[1] if isinstance(name, tuple) else name
    return bound


def listens(fd: int) -> str | int | None:
    """Where a socket listens; ``None`` if none does there. It makes no descriptor."""
    try:
        found = socket.socket(fileno=fd)  # no copy, for which there may be no room
    except OSError:
        return None
    try:
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return name_of(found) if listening else None
    finally:
        found.detach()
