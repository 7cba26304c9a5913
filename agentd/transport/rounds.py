"""Looks at all connections again and again, a few at a time.

A look takes microseconds and connections come by the thousand: messages wait for a few looks, not
for a round of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from agentd.transport.connections import Connection
from agentd.transport.loop import Loop

__all__ = ["PAUSE_S", "SLICE", "Rounds"]

SLICE: Final = 32
"""Connections that are looked at in one piece: some 0.1 ms."""
PAUSE_S: Final = 0.001
"""Between two pieces."""


class Rounds:
    """In the loop's thread only."""

    def __init__(
        self,
        loop: Loop,
        connections: Iterable[Connection],
        look_at: Callable[[Connection], None],
        ended: Callable[[], float],
        share: int,
    ) -> None:
        """``look_at`` each; ``ended``: once all were, in how many seconds the next round begins.

        At least ``share`` times as long after it as it took.
        """
        self._loop = loop
        self._connections = connections
        self._look_at = look_at
        self._ended = ended
        self._share = share
        self._left: list[Connection] = []
        self._took = 0.0

    def begin(self) -> None:
        """Look at those that there are now; and again, for as long as the loop runs."""
        self._left = list(self._connections)
        self._took = 0.0
        self._go_on()

    def _go_on(self) -> None:
        began = time.thread_time()  # not while others had the processor
        some, self._left = self._left[:SLICE], self._left[SLICE:]
        wait = 0.0
        try:
            for connection in some:
                if not connection.ended:
                    self._look_at(connection)
            if not self._left:
                wait = self._ended()
        finally:  # a look that fails must not be the last one
            self._took += time.thread_time() - began
            if self._left:
                self._loop.later(PAUSE_S, self._go_on)
            else:
                self._loop.later(max(wait, PAUSE_S, self._share * self._took), self.begin)
