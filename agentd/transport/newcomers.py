"""Connections that come to nothing, by the hundred: not all are let in.

libzmq accepts whatever connects, and takes 0.1 ms and more of its thread for each. So more that end
without a message than are forgiven (see ``debts``) are held back. Over TCP the kernel drops one of
two that ask for a connection, then three of four, and so on. Who was dropped asks again after a
second (RFC 6298), so that a program which connects in a row mostly waits, and one that connects
once is soon let in. Within the host nobody is accepted until the debt is paid back, and then
whoever waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from agentd.transport.connections import QUIET_S, Connections
from agentd.transport.debts import Debts
from agentd.transport.loop import Loop

__all__ = ["FORGIVEN", "LOOK_S", "MOST_HALVINGS", "REST_S", "Newcomers"]

log = logging.getLogger("agentd.transport")

LOOK_S: Final = 1.0
"""Between two steps, over TCP."""
MOST_HALVINGS: Final = 6
"""Then one of 64 is let in."""
FORGIVEN: Final = 800.0
"""Within the host, in a second. With 200, as over TCP, who comes beside somebody that connects
without end waited for 0.15 to 2.3 s, with 800 it is 0.1 to 0.9."""
REST_S: Final = 0.01
"""Within the host: nobody is accepted for so long, and then it is looked whether they owe."""


class Newcomers:
    """To the sockets of one book of connections. In the loop's thread."""

    def __init__(self, loop: Loop, connections: Connections) -> None:
        self._loop = loop
        self._connections = connections
        self._debts: dict[int, Debts] = {}
        """By socket; of whoever came there."""
        self._hold_back: dict[int, Callable[[int], None]] = {}
        """By socket."""
        self._halvings: dict[int, int] = {}
        """By socket of TCP; of those where not all are let in."""
        self._resting: set[int] = set()
        """Sockets within the host where nobody is accepted now."""
        self._told_at = -QUIET_S
        self.thinned_out = 0
        """How many seconds not all were let in over TCP, and how many times nobody was here."""
        connections.on_wasted = self._wasted
        connections.listeners.on_no_room = self._no_room

    def follow(self, number: int, kind: Literal["ipc", "tcp"]) -> None:
        """Hold back who comes to that socket, the ``number``-th."""
        if kind == "tcp":
            self._hold_back[number] = self._thin_out
            self._debts[number] = Debts(self._loop.clock)
        else:
            self._hold_back[number] = self._rest
            self._debts[number] = Debts(self._loop.clock, FORGIVEN)

    def _wasted(self, number: int) -> None:
        """A connection to that socket ended by which nothing had come."""
        if number not in self._debts:
            return
        self._debts[number].charge(number)
        if number in self._halvings or number in self._resting:
            return
        if self._owes(number):
            self._hold_back[number](number)

    def _owes(self, number: int) -> bool:
        return self._debts[number].owes(number)

    # -- over TCP ----------------------------------------------------------------------------------
    def _thin_out(self, number: int) -> None:
        step = 1 if self._owes(number) else -1  # it may have been paid back just now
        halvings = max(0, min(MOST_HALVINGS, self._halvings.pop(number, 0) + step))
        if not self._connections.listeners.thin_out(number, halvings) or not halvings:
            return
        self._halvings[number] = halvings
        self._loop.later(LOOK_S, partial(self._thin_out, number))
        self._held_back()

    # -- within the host ---------------------------------------------------------------------------
    def _rest(self, number: int) -> None:
        if self._pause(number):
            self._held_back()

    def _no_room(self, number: int) -> None:
        """One could not be accepted; over TCP, too."""
        if number in self._debts and number not in self._resting and self._pause(number):
            self._tell("the system has no room for another connection: too many open files")

    def _pause(self, number: int) -> bool:
        if not self._connections.listeners.rest(number, rests=True):
            return False
        self._resting.add(number)
        self._loop.later(REST_S, partial(self._go_on, number))
        return True

    def _go_on(self, number: int) -> None:
        if not self._owes(number) and self._connections.listeners.rest(number, rests=False):
            self._resting.discard(number)
        else:
            self._loop.later(REST_S, partial(self._go_on, number))

    def _held_back(self) -> None:
        self.thinned_out += 1
        self._tell(
            "connections that come to nothing, by the hundred: for a while not all that ask for "
            "one are answered at once"
        )

    def _tell(self, what: str) -> None:
        now = self._loop.clock()
        if now - self._told_at >= QUIET_S:
            self._told_at = now
            log.warning("%s", what, extra={"action": "thinned_out"})
