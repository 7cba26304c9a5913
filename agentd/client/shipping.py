"""Code on its way to a daemon: each bundle is offered once, each file sent if it is wanted."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from agentd.client.link import Link
from agentd.client.pending import LinkDown, Pending
from agentd.protocol.messages import Offer, Supply, Wanted
from agentd.serialization import Bundle

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon

__all__ = ["Shipping"]


class Shipping:
    """What a daemon has been offered. It does not wait: the agent does, where it is to be made."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.RLock()  # protects the next; answers may be read while it is held
        self._offered: set[tuple[str, bytes]] = set()

    def offer(self, bundle: Bundle, *, anew: bool = False) -> None:
        """Have the daemon know of the bundle; before the agent that needs it is created.

        ``anew``: although that was done, over a connection that broke since.
        """
        if anew:
            self._forget(bundle)
        try:
            self._offer(self._daemon.connect(), bundle)
        except LinkDown:
            self._offer(self._daemon.connect(), bundle)

    def _offer(self, link: Link, bundle: Bundle) -> None:
        assert link.welcome is not None
        mark = (link.welcome.node, bundle.digest)
        with self._lock:
            if mark in self._offered:
                return
            make = partial(Offer, code=bundle.digest)
            link.submit(make, [bundle.manifest], partial(self._wanted, link, bundle))
            self._offered.add(mark)

    def _wanted(self, link: Link, bundle: Bundle, pending: Pending) -> None:
        message = pending.message
        if not isinstance(message, Wanted):
            self._forget(bundle)  # it was refused, or the connection broke: the next agent offers
            return
        for file in map(bytes, message.files):
            make = partial(Supply, code=bundle.digest, file=file)
            try:
                link.submit(make, [bundle.contents[file]], partial(self._wanted, link, bundle))
            except LinkDown:
                return

    def _forget(self, bundle: Bundle) -> None:
        with self._lock:
            self._offered = {mark for mark in self._offered if mark[1] != bundle.digest}
