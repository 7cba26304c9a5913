"""The one background thread of a client process: reads where nobody else does, keeps leases."""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentd.client.defects import log

if TYPE_CHECKING:
    from agentd.client.link import Link

__all__ = ["BEAT_S", "IDLE_S", "Pump"]

BEAT_S = 0.25
"""How often it is looked whether a heartbeat is due, while any answer is awaited."""
IDLE_S = 5.0
"""At least so often while none is, unless it is roused. To wake up costs a process that was idle
twenty times what the look does: a thousand of them would use a whole processor."""
LOOK_S = 0.01
"""How often it is looked whether somebody reads what is watched."""
QUIET_LOOKS = 50
"""So many looks at nothing, and there are none until something is to be watched."""


class Pump:
    """Started with the first session; ends with the process, or with ``stop``."""

    def __init__(self, tick: Callable[[], float]) -> None:
        """``tick`` says in how many seconds it is to be called again; the first time is soon.

        It must not block or raise.
        """
        self._epoll = select.epoll()
        self._links: dict[int, weakref.ref[Link]] = {}
        self._tick = tick
        self._watched: dict[weakref.ref[Link], int] = {}
        """Links whose answers nobody waits for at the moment, and how often each was read."""
        self._asleep = False
        self._resting = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="agentd-pump", daemon=True)
        self._thread.start()

    def arm(self, link: Link) -> None:
        """Read this link as soon as something arrives, once. From any thread."""
        if link.down is not None:
            return  # nothing comes any more, and its descriptors may be somebody else's by now
        try:
            self._register(link)
        except OSError:
            pass  # it was closed just now

    def _register(self, link: Link) -> None:
        for fd in link.fds:
            known = self._links.get(fd)
            if known is None or known() is not link:
                self._links[fd] = weakref.ref(link)
                try:
                    self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)
                    continue
                except FileExistsError:
                    pass  # the number of a closed descriptor, in use again
            try:
                self._epoll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
            except FileNotFoundError:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def watch(self, link: Link) -> None:
        """Read this link if nobody else has for ``LOOK_S``, as long as answers are to come."""
        self._watched[weakref.ref(link)] = -1
        if self._asleep:
            os.eventfd_write(self._wake, 1)

    def rouse(self) -> None:
        """Have the next tick within ``BEAT_S``. From any thread, also from ``__del__``."""
        if self._resting:
            self._resting = False
            if threading.get_ident() != self._thread.ident:
                os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End the thread after its present turn."""
        self._stopped = True
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        import time

        due = time.monotonic() + BEAT_S
        quiet = QUIET_LOOKS  # nothing is watched yet: a process that only waits wakes nobody
        while not self._stopped:
            wait = max(0.0, due - time.monotonic())
            quiet = 0 if self._watched else quiet + 1
            if quiet < QUIET_LOOKS:
                wait = min(wait, LOOK_S)
            else:  # who comes from now on has to wake us
                self._asleep = True
                if self._watched:
                    wait = 0.0
            events = self._epoll.poll(wait)
            self._asleep = False
            for fd, _events in events:
                if fd == self._wake:
                    os.eventfd_read(fd)
                    continue
                known = self._links.get(fd)
                link = known() if known is not None else None
                if link is not None and link.pump():
                    self.arm(link)
            if self._watched:
                self._look()
            now = time.monotonic()
            if now >= due:
                self._resting = True  # who has something for it to look at from now on rouses it
                due = now + self._ticked()
            if not self._resting:
                due = min(due, now + BEAT_S)

    def _ticked(self) -> float:
        try:
            return self._tick()
        except Exception:  # out of descriptors, say: the next one may go well
            log.exception("a heartbeat failed")
            return BEAT_S

    def _look(self) -> None:
        for known, reads in list(self._watched.items()):
            del self._watched[known]  # a link that is not watched any more may ask for it again
            link = known()
            seen = None if link is None else link.unread(reads)
            if seen is not None:
                self._watched[known] = seen
