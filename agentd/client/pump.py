"""The one background thread of a client process: reads where nobody else does, keeps leases."""

from __future__ import annotations

import select
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentd.client.defects import log

if TYPE_CHECKING:
    from agentd.client.link import Link

__all__ = ["Pump"]


class Pump:
    """Started with the first session; ends with the process, or with ``stop``."""

    def __init__(self, tick_s: float, tick: Callable[[], None]) -> None:
        """``tick`` is called every ``tick_s`` seconds; it must not block or raise."""
        self._epoll = select.epoll()
        self._links: dict[int, weakref.ref[Link]] = {}
        self._tick_s = tick_s
        self._tick = tick
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

    def stop(self) -> None:
        """End the thread after its present turn."""
        self._stopped = True

    def _run(self) -> None:
        import time

        due = time.monotonic() + self._tick_s
        while not self._stopped:
            for fd, _events in self._epoll.poll(max(0.0, due - time.monotonic())):
                known = self._links.get(fd)
                link = known() if known is not None else None
                if link is not None and link.pump():
                    self.arm(link)
            if time.monotonic() >= due:
                try:
                    self._tick()
                except Exception:  # out of descriptors, say: the next one may go well
                    log.exception("a heartbeat failed")
                due = time.monotonic() + self._tick_s
