"""The process of a worker: its sockets, its pipes, its start.

Kept light, as an embedded daemon starts its first worker before it imports anything else
(``server/__main__.py``): the worker imports what it needs while the daemon does, and is then told
what to do. Until it is, its pipe ends it, should the daemon not live to tell.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from agentd.transport.users import User

__all__ = ["Door", "Spare", "as_user", "new_door", "spare", "spawn"]

ROOM: Final = 32
"""Descriptors that must be free to start a worker: it takes about ten of the daemon's."""


class Door(NamedTuple):
    """The sockets of a worker to be."""

    mine: socket.socket
    """The daemon's end of their connection."""
    its: socket.socket
    """The worker's end, which it inherits."""
    listener: socket.socket
    """The socket that clients are to come to, which it inherits, too; not bound yet."""

    def close(self) -> None:
        """All three."""
        for each in self:
            each.close()


class Spare(NamedTuple):
    """A worker that was not told yet what it is."""

    door: Door
    process: subprocess.Popen[bytes]

    def discard(self) -> None:
        """End it, as it is not needed."""
        self.door.close()
        self.process.kill()
        self.process.communicate()


def new_door() -> Door:
    """Make the sockets."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        return Door(mine, its, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    except OSError:
        mine.close()
        its.close()
        raise


def spawn(
    inherited: Sequence[int],
    environment: Mapping[str, str] | None = None,
    user: User | None = None,
) -> subprocess.Popen[bytes]:
    """Start a worker that inherits those descriptors; it waits to be told the rest.

    Raises ``OSError``.
    """
    _check_room()
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "agentd.worker"],  # -P: the current folder is not on the path
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        close_fds=True,
        pass_fds=inherited,
        env=environment,
        **as_user(user),
    )


def as_user(user: User | None) -> dict[str, Any]:
    """What ``Popen`` is told to start a process as somebody else.

    In ``/``: the daemon's current folder may lie where that user is not meant to get, and whoever
    stands in a folder can read there whatever is closed above it.
    """
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": user.groups, "cwd": "/"}


def spare() -> Spare | None:
    """Start a worker ahead of everything else; ``None`` if that cannot be done now."""
    try:
        door = new_door()
    except OSError:
        return None
    try:
        return Spare(door, spawn((door.its.fileno(), door.listener.fileno())))
    except OSError:
        door.close()
        return None


def _check_room() -> None:
    """Raise ``OSError`` unless a worker's descriptors are to be had.

    Its pipes, its pidfd and its connection: it would be found out in the middle.
    """
    taken: list[int] = []
    try:
        # Not as a list made at once: those taken before the error have to be given back.
        taken.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(ROOM))
    finally:
        for fd in taken:
            os.close(fd)
