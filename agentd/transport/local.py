"""Connections within one host: how they are made. Stream sockets, without ZeroMQ in between."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

from agentd.transport.localport import LocalPort

__all__ = ["adopt", "connect", "listen", "pair"]

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
    until = time.monotonic() + timeout
    while True:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connecting.settimeout(max(0.01, until - time.monotonic()))
            connecting.connect(path)
            return LocalPort(connecting, shares=shares)
        except BlockingIOError:  # more wait to be accepted than may
            connecting.close()
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        except BaseException:
            connecting.close()
            raise


def adopt(fd: int) -> socket.socket:
    """A socket that was inherited; programs started from here do not inherit it further."""
    os.set_inheritable(fd, False)  # noqa: FBT003 - the name says it
    return socket.socket(fileno=fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that nobody else can reach."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
