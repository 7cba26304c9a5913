"""The listening sockets of libzmq, and when the next one is accepted by each of them.

Each accepts one connection, and the next when that one is known (see ``listener``); and none while
``ENDING`` that were too many have not gone yet. So a few spare descriptors are enough, whatever
floods of connections come.
"""

from __future__ import annotations

import errno
import logging
import resource
import socket
from collections.abc import Callable
from typing import Final

from agentd.transport.filters import drop_newcomers, drop_nothing
from agentd.transport.listener import Listener
from agentd.transport.sockinfo import borrowed, listens, name_of

__all__ = ["AHEAD", "ENDING", "SPARE", "Listeners"]

log = logging.getLogger("agentd.transport")

ENDING: Final = 50
"""Connections that were too many, and are ended, of which libzmq has not told that they have gone;
then nobody is accepted."""
SPARE: Final = 200
"""Descriptors that are not for connections: those of ``ENDING`` and of one that was just accepted,
what a daemon has without any client (25 to 35), what is opened for a moment, and some for workers
that agents have for themselves."""
AHEAD: Final = 2_000
"""How many connections libzmq may be ahead where it cannot be told to wait (see ``listener``)."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why libzmq could not accept anybody, and not just one."""


class Listeners:
    """Those of one book of connections, by number. In the loop's thread."""

    def __init__(self, has_room: Callable[[], bool], most: int) -> None:
        """``has_room``: whether one more may be accepted. ``most``: how many there may be."""
        self._has_room = has_room
        self._most = most
        self.names: list[str | int] = []
        """Where they listen."""
        self._known: dict[int, Listener] = {}
        self._full: set[int] = set()
        """Where nobody is accepted until somebody has gone."""
        self.on_no_room: Callable[[int], None] = self.admit
        """Called with the number of a socket where the system had no room for one more: for a while
        nobody should be accepted (see ``rest``), or else the next is tried at once."""

    def add(self, number: int, fd: int) -> None:
        """One has begun to listen, by that descriptor."""
        self._known[number] = Listener(fd, self._unseen)
        self.admit(number)

    def admit(self, number: int) -> None:
        """Have the next one accepted; if there are too many, as soon as one has gone."""
        if not self._has_room():
            self._full.add(number)
            return
        self._full.discard(number)
        listener = self._found(number)
        if listener is not None:
            listener.admit()

    def refused(self, number: int, reason: int) -> None:
        """One could not be accepted, for that ``errno``."""
        if reason in _NO_ROOM:
            self.on_no_room(number)
        else:
            self.admit(number)

    def left(self) -> None:
        """A connection has gone."""
        for number in tuple(self._full):
            self.admit(number)

    def rest(self, number: int, *, rests: bool) -> bool:
        """Have nobody accepted by a socket, or everybody again; whether it could be done."""
        listener = self._found(number)
        if listener is None:
            return False
        if rests:
            return listener.rest()
        listener.go_on()
        return True

    def thin_out(self, number: int, halvings: int) -> bool:
        """Of new connections over TCP to a socket let in one of ``2 ** halvings``.

        Whether it could be done.
        """
        listener = self._known.get(number)
        if listener is None:
            return False
        with borrowed(listener.fd) as found:
            if found is None or found.family == socket.AF_UNIX or not self.is_ours(found):
                return False
            return drop_newcomers(found, halvings) if halvings else drop_nothing(found)

    def is_ours(self, found: socket.socket) -> bool:
        """Whether it is one of these sockets, or a connection to it."""
        return name_of(found) in self.names

    def clear(self) -> None:
        """They are about to be closed."""
        self._known.clear()

    def _found(self, number: int) -> Listener | None:
        listener = self._known.get(number)
        if listener is None or listens(listener.fd) not in self.names:
            return None
        return listener

    def _unseen(self) -> None:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= allowed < self._most + SPARE + AHEAD:
            log.warning(
                "it cannot be seen in /proc who accepts connections: a flood of them can end "
                "this process, which may have %d open files. Allow %d or more (ulimit -Hn, "
                "LimitNOFILE=)",
                allowed,
                self._most + SPARE + AHEAD,
                extra={"action": "few_files", "allowed": allowed},
            )
