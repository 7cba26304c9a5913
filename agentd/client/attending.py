"""An event loop that reads a connection itself: its answers need no other thread.

As long as the loop runs. Should something keep it, or should it have ended, the process's pump
reads as for all connections that nobody reads (``agentd.client.pump``).
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.client.link import Link

__all__ = ["Attending", "attend"]

_lock = threading.Lock()  # protects who attends to which link


class Attending:
    """A loop that reads a link, until the link is down or the loop is closed."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        """In the loop's thread. Raises ``NotImplementedError``: it cannot wait for descriptors."""
        self.loop = loop
        # Its own: the link may close his while the loop still waits for it.
        self._fds = [os.dup(fd) for fd in link.fds]
        try:
            for fd in self._fds:
                loop.add_reader(fd, link.look)
        except BaseException:
            self._close()
            raise

    def stop(self) -> None:
        """Read no more. From any thread."""
        try:
            self.loop.call_soon_threadsafe(self._leave)
        except RuntimeError:  # the loop is closed
            self._close()

    def _leave(self) -> None:
        for fd in self._fds:
            self.loop.remove_reader(fd)
        self._close()

    def _close(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)


def attend(link: Link, loop: asyncio.AbstractEventLoop) -> bool:
    """Have the running ``loop`` read the link; False if it cannot, or another one does."""
    known = link.attending
    if known is not None and known.loop is loop:
        return True
    with _lock:
        known = link.attending
        if known is not None and not known.loop.is_closed():
            return known.loop is loop
        if known is not None:
            known.stop()
        try:
            link.attending = Attending(link, loop)
        except (NotImplementedError, OSError):
            link.attending = None
            return False
    if link.down is not None:  # just now, and it may not have seen us
        link.stop_attending()
    return True
