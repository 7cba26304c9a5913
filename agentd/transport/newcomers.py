"""Connections over TCP that come to nothing, by the hundred: the kernel lets fewer in.

libzmq accepts whatever connects, and takes 0.1 ms and more of its thread for each. While more end
without a message than are forgiven (see ``debts``), the kernel drops one of two that ask for a
connection, then three of four, and so on. Who was dropped asks again after a second (RFC 6298), so
that a program which connects in a row mostly waits, and one that connects once is soon let in.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from agentd.transport.connections import QUIET_S, Connections
from agentd.transport.debts import Debts
from agentd.transport.loop import Loop

__all__ = ["LOOK_S", "MOST_HALVINGS", "Newcomers"]

log = logging.getLogger("agentd.transport")

LOOK_S: Final = 1.0
"""Between two steps."""
MOST_HALVINGS: Final = 6
"""Then one of 64 is let in."""


class Newcomers:
    """To the sockets of one book of connections. In the loop's thread."""

    def __init__(self, loop: Loop, connections: Connections) -> None:
        self._loop = loop
        self._connections = connections
        self._debts = Debts(loop.clock)
        self._doors: set[int] = set()
        """Those of TCP."""
        self._halvings: dict[int, int] = {}
        """By socket; of those where not all are let in."""
        self._told_at = -QUIET_S
        self.thinned_out = 0
        """How many seconds not all were let in."""
        connections.on_wasted = self._wasted

    def follow(self, number: int) -> None:
        """Thin out who comes to that socket of TCP, the ``number``-th."""
        self._doors.add(number)

    def _wasted(self, number: int) -> None:
        """A connection to that socket ended by which nothing had come."""
        if number not in self._doors:
            return
        self._debts.charge(number)
        if number not in self._halvings and self._debts.owes(number):
            self._look(number)

    def _look(self, number: int) -> None:
        step = 1 if self._debts.owes(number) else -1
        halvings = min(MOST_HALVINGS, self._halvings.pop(number, 0) + step)
        if not self._connections.thin_out(number, halvings) or not halvings:
            return
        self._halvings[number] = halvings
        self.thinned_out += 1
        self._loop.later(LOOK_S, partial(self._look, number))
        now = self._loop.clock()
        if now - self._told_at >= QUIET_S:
            self._told_at = now
            log.warning(
                "connections that come to nothing, by the hundred: for a while not all that ask "
                "for one are answered at once",
                extra={"action": "thinned_out"},
            )
