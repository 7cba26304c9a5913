"""Who reads a connection: one of those who wait for answers, for all of them.

The others follow: they sleep until their answer is there, or until it is they who have to read
(leader/followers, Schmidt et al., "Leader/Followers", PLoP 2000).
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable
from functools import partial

from agentd.transport.lookout import Lookout

__all__ = ["Readers", "Waiter"]

MAX_FOLLOW_S = 1.0
"""A follower looks at least this often whether it has to lead."""


class Waiter:
    """A thread that waits; it sleeps on the lock while another one leads."""

    __slots__ = ("_readers", "bed", "fresh")

    def __init__(self, readers: Readers, *, fresh: bool) -> None:
        """``fresh``: what it waits for was sent just now."""
        self._readers = readers
        self.fresh = fresh
        self.bed = threading.Lock()
        self.bed.acquire()

    def wake(self) -> None:
        """Have it look what there is now. Under the connection's lock."""
        if self is self._readers.leader:
            self._readers.rouse_leader()
        elif self.bed.locked():
            self.bed.release()


class Readers:
    """Those of one connection, whose lock is held whenever a method is called."""

    leader: Waiter | None = None
    """Who reads, or waits for something to read."""

    def __init__(self, fds: Iterable[int], lock: threading.Lock) -> None:
        """``fds``: readable when there is something to read."""
        self.followers: list[Waiter] = []
        self._lock = lock
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._look = partial(self._poll.poll, 0)
        self._lookout = Lookout()
        for fd in (*fds, self._wake):
            self._poll.register(fd, select.POLLIN)

    def lead(self, me: Waiter, limit: float | None) -> None:
        """Wait until there is something to read; ``limit`` seconds at most. Frees the lock.

        Python looks for signals after calls: ctrl-C may come right after the lock is free, or is
        held again.
        """
        self.leader = me
        roused = False
        sleep = partial(self._poll.poll, None if limit is None else limit * 1000 + 1)
        try:
            self._lock.release()
            events = self._lookout.wait(self._look, sleep) if me.fresh else sleep()
            for fd, _event in events:
                roused = roused or fd == self._wake
        finally:
            try:
                self._lock.acquire()
            finally:
                self.leader = None
                if roused:
                    os.eventfd_read(self._wake)

    def follow(self, me: Waiter, limit: float | None) -> None:
        """Sleep until somebody wakes us; ``limit`` seconds at most. Frees the lock."""
        if me not in self.followers:
            self.followers.append(me)
        limit = MAX_FOLLOW_S if limit is None else max(0.0, min(limit, MAX_FOLLOW_S))
        try:
            self._lock.release()  # see ``lead``
            me.bed.acquire(timeout=limit)
        finally:
            self._lock.acquire()

    def rouse_leader(self) -> None:
        """There is more to look at than what can be read."""
        os.eventfd_write(self._wake, 1)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        wake = self.__dict__.get("_wake")
        if wake is not None:
            close(wake)  # as the interpreter ends there may be no ``os`` any more
