"""Whether libzmq accepts who connects to one of its listening sockets.

It has no option against that, and a socket that is unbound ends the connections that it accepted.
But its threads wait by epoll, and the kernel lets a whole process see and change what is waited
for (``epoll_ctl(2)``; ``/proc/self/fdinfo`` in ``proc(5)``, since Linux 4.11 with the inode). Where
they wait for nothing, newcomers stay in the queue of the kernel.
"""

from __future__ import annotations

import os
import platform
import select
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple

__all__ = ["Acceptance"]

_MODIFY: Final = 3  # EPOLL_CTL_MOD
_EVENT: Final = struct.Struct("=IQ" if platform.machine() == "x86_64" else "@IQ")
"""``struct epoll_event``, which is packed on x86-64 only."""


class Acceptance(NamedTuple):
    """Of one listening socket, from when libzmq has begun to wait at it."""

    fd: int
    epoll: int
    """The descriptor by which somebody waits for it."""
    data: int
    """What that somebody is told when there is something; theirs alone."""

    @classmethod
    def of(cls, fd: int) -> Acceptance | None:
        """Who waits at that socket; ``None`` if it cannot be told who."""
        try:
            inode = os.fstat(fd).st_ino
            found = [cls(fd, each, data) for each in _epolls() for data in _waits(each, fd, inode)]
        except OSError:
            return None
        return found[0] if len(found) == 1 else None

    def pause(self) -> bool:
        """Nobody is accepted from now on, or in a moment; whether it could be done."""
        return self._wait_for(0)

    def admit(self) -> bool:
        """Who came meanwhile is accepted, or else who comes next, and then nobody any more."""
        return self._wait_for(select.EPOLLIN | select.EPOLLONESHOT)

    def _wait_for(self, events: int) -> bool:
        event = _EVENT.pack(events, self.data)
        return bool(_libc().epoll_ctl(self.epoll, _MODIFY, self.fd, event) == 0)


@cache
def _libc() -> Any:
    import ctypes  # takes long, and is needed where ZeroMQ listens only

    return ctypes.CDLL(None)


def _epolls() -> Iterator[int]:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it was closed meanwhile
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                yield int(name)


def _waits(epoll: int, fd: int, inode: int) -> Iterator[int]:
    """``tfd: 25 events: 19 data: 7f23 pos:0 ino:5e1f sdev:8``: whose data that socket has."""
    with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{epoll}", "rb") as about:
        for line in about:
            match line.split():
                case [b"tfd:", number, b"events:", _, b"data:", data, _, found, *_] if (
                    int(number) == fd and found == b"ino:%x" % inode
                ):
                    yield int(data, 16)
