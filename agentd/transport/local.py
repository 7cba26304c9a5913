"""Connections within one host: how they are made. Stream sockets, without ZeroMQ in between."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from typing import Final

from agentd.transport.localport import LocalPort

__all__ = ["adopt", "connect", "listen", "pair", "wait_for_room"]

BACKLOG: Final = 4096


def listen(path: str, listener: socket.socket | None = None) -> socket.socket:
    """A socket that listens at the path, open to this user alone; the given one, or a new one."""
    if listener is None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def connect(path: str, timeout: float, *, shares: bool = True) -> LocalPort:
    """A connection to who listens at the path; raises ``OSError``.

    ``shares``: long frames may go by shared memory, which the listener has to know of.
    """
    return LocalPort(_connected(path, timeout), shares=shares)


def wait_for_room(path: str, seconds: float) -> bool:
    """Wait until fewer wait to be accepted there than may; whether it came to that in time.

    For libzmq, which may not block: beside somebody who connects without end it met a free place
    once in 70 tries (at most 170), and right after this wait in the first or the second. The
    listener sees a connection that ends at once.
    """
    try:
        _connected(path, seconds).close()
    except OSError:
        return False
    return True


def _connected(path: str, seconds: float) -> socket.socket:
    """One that was made in time, or an ``OSError``.

    Where as many wait to be accepted as may, the kernel keeps order among those who block, and
    wakes the first as somebody is accepted (``unix_wait_for_peer``).
    """
    until = time.monotonic() + seconds
    while True:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connecting.settimeout(None)  # to wait in the kernel, whatever this program's default
            left = max(1, int((until - time.monotonic()) * 1e6))
            within = struct.pack("ll", *divmod(left, 1_000_000))
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, within)
            connecting.connect(path)
            connecting.getpeername()
        except OSError as error:
            connecting.close()
            if error.errno != errno.ENOTCONN:  # a signal came, which Python takes for success
                raise
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting


def adopt(fd: int) -> socket.socket:
    """A socket that was inherited; programs started from here do not inherit it further."""
    os.set_inheritable(fd, False)  # noqa: FBT003 - the name says it
    return socket.socket(fileno=fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that nobody else can reach."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
