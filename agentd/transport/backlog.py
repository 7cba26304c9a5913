"""Clients over TCP that send much more than is taken of them: they are held up, or disconnected.

ZeroMQ reads what they send without end, into this process. An honest program has no more waiting
here than it may have open; somebody in debt (see ``debts``) is served slowly, so that what it sends
piles up: it gets less room. From half of that on it is held up (see ``brake``). Who has more all
the same is disconnected, and not listened to for a while.

Who has more waiting than can be taken soon is held up, too, for a moment: so it is the sender that
waits, as it would for any server that stops reading, and not its messages, here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from agentd.transport.brake import HOLD_S
from agentd.transport.connections import Connection, Connections
from agentd.transport.loop import Loop
from agentd.transport.unread import Unread, Waiting

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["CALL_BYTES", "Backlog"]

log = logging.getLogger("agentd.transport")

CALL_BYTES: Final = 2_048
"""Memory that a call of a few arguments takes while it waits, at most: five frames and header."""
LOOK_S: Final = 0.01
"""Between two looks, while something is left unread."""
SHARE: Final = 20
"""And at least so many times as long as the last look took."""
DEBTOR_SHARE: Final = 8
"""Of what others may have waiting, the part of somebody in debt."""
LONG_S: Final = 0.25
"""Who has so much waiting as takes longer than that is held up for a moment: ``PAUSE_S``."""
PAUSE_S: Final = 0.1
"""What was dropped its kernel sends again after 0.2 s at least (``TCP_RTO_MIN``, tcp.h): it goes on
after 0.215 s (measured on loopback, for 0.05 and 0.1), before what waits here is done."""


class Backlog:
    """Looks at who has what waiting, for as long as anything waits. In the loop's thread only."""

    def __init__(
        self,
        loop: Loop,
        connections: Connections,
        most: int,
        most_together: int,
        shut_out: Callable[[str], float],
        hold: Callable[[Connection, str, float], bool],
    ) -> None:
        """``most``: bytes of memory for what waits of one connection; ``most_together``: of all.

        ``shut_out``: not to listen to a peer for a while, seconds. ``hold`` one up: why, seconds.
        """
        self._loop = loop
        self._connections = connections
        self._most = most
        self._most_together = most_together
        self._shut_out = shut_out
        self._hold = hold
        self._unread = Unread(connections.received, loop.clock)
        self._seen: dict[Connection, int] = {}
        self._fronts: dict[int, FrontPort] = {}
        self._looking = False
        self.disconnected = 0
        """Clients that had too much waiting."""

    def follow(self, number: int, front: FrontPort) -> None:
        """Look at what comes by that socket, which is the ``number``-th of the daemon."""
        self._fronts[number] = front
        front.on_left = self._begin

    def _begin(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.later(0.0, self._look)

    def _look(self) -> None:
        began = time.thread_time()  # not while others had the processor
        busy = {number for number, front in self._fronts.items() if not front.drained}
        if not busy:
            self._looking = False
            self._unread.clear()
            self._seen.clear()
            return
        try:
            self._look_at([c for c in self._connections if c.front in busy and not c.ended])
        finally:  # a look that fails must not be the last one
            took = time.thread_time() - began
            self._loop.later(max(LOOK_S, SHARE * took), self._look)

    def _look_at(self, connections: Sequence[Connection]) -> None:
        waiting: dict[Connection, Waiting] = {}
        before, self._seen = self._seen, {c: c.messages for c in connections}
        for connection in connections:
            # Of whom nothing was taken since has nothing here: libzmq takes from each in turn.
            if connection.messages != before.get(connection, 0):
                waiting[connection] = self._unread.look(connection)
        self._unread.keep(self._seen)
        for connection, size in list(waiting.items()):
            owes = self._fronts[connection.front].owes(connection.route)
            limit = self._most // DEBTOR_SHARE if owes else self._most
            if size.bytes > limit:
                del waiting[connection]
                self._end(connection, size.bytes, limit)
            elif size.bytes > limit // 2:
                why = f"about {size.bytes >> 20} MiB of what it sent wait to be read"
                self._hold(connection, why, HOLD_S)
            elif size.seconds > LONG_S:
                why = f"it sends faster than can be read, {size.seconds:.1f} s ahead"
                self._hold(connection, why, PAUSE_S)
        if sum(each.bytes for each in waiting.values()) > self._most_together:
            worst = max(waiting, key=waiting.__getitem__)
            self._end(worst, waiting[worst].bytes, self._most_together)

    def _end(self, connection: Connection, size: int, limit: int) -> None:
        if not self._connections.end(connection):
            return
        self.disconnected += 1
        seconds = self._shut_out(connection.peer)
        log.warning(
            "%s was disconnected: about %d MiB of what it sent wait to be read (limit: %d MiB); "
            "nothing of it is read for %g s",
            connection.peer,
            size >> 20,
            limit >> 20,
            seconds,
            extra={"action": "disconnected_backlog", "peer": connection.peer, "waiting": size},
        )
