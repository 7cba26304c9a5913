"""What a peer has sent over TCP and nobody has taken yet, which only libzmq holds.

It cannot be asked, and a high-water mark that makes it stop to read is no way either (see
``curve``). But the kernel knows how many bytes have come by a connection, and we what we took of
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from agentd.transport.connections import Connection
from agentd.transport.pieces import SEAL

__all__ = ["FRAME_BYTES", "PACE_S", "Unread", "Waiting", "sealed_size"]

FRAME_BYTES: Final = 128
"""Memory that libzmq has for each frame beside its bytes: ``msg_t`` in a queue, and a block of the
heap with its content."""
PACE_S: Final = 0.05
"""For so long it is looked how fast things are taken, at least."""
_SHORT: Final = 222
"""Longer frames have their length in 8 bytes instead of 1."""
_SEALED: Final = SEAL + 2
"""Bytes more that a frame has on its way: flags and length, too (RFC 23)."""


def sealed_size(frames: list[bytes]) -> int:
    """Bytes that these frames had on their way."""
    return sum(len(f) + (_SEALED if len(f) <= _SHORT else _SEALED + 7) for f in frames)


class Waiting(NamedTuple):
    """About how much of a connection was not taken since the first look."""

    bytes: int
    """Of memory that holds it."""
    seconds: float
    """Until it is taken, if that goes on as it has; 0 while that is not known."""


class _Start(NamedTuple):
    at: float
    received: int
    bytes: int
    frames: int


class Unread:
    """Counts from the first look on, until ``clear``: when nothing is left, it is nought anyway.

    How fast things are taken is remembered longer.
    """

    def __init__(self, received: Callable[[Connection], int], clock: Callable[[], float]) -> None:
        """``received``: the bytes that have come by a connection since it was made."""
        self._received = received
        self._clock = clock
        self._starts: dict[Connection, _Start] = {}
        self._paces: dict[Connection, float] = {}
        """Bytes a second that were taken of it, when that was last known."""

    def look(self, connection: Connection) -> Waiting:
        """What waits of it."""
        received, now = self._received(connection), self._clock()
        start = self._starts.get(connection)
        if start is None:
            self._starts[connection] = _Start(now, received, connection.bytes, connection.frames)
            return Waiting(0, 0.0)
        taken, frames = connection.bytes - start.bytes, connection.frames - start.frames
        waiting = max(0, received - start.received - taken)
        if now - start.at >= PACE_S:
            self._paces[connection] = max(1, taken) / (now - start.at)
        pace = self._paces.get(connection, math.inf)
        # As many frames to the byte as in what was taken of it.
        return Waiting(waiting + FRAME_BYTES * waiting * frames // max(1, taken), waiting / pace)

    def keep(self, connections: Collection[Connection]) -> None:
        """The others have gone."""
        if len(self._starts) > len(connections):
            self._starts = {c: s for c, s in self._starts.items() if c in connections}
        if len(self._paces) > len(connections):
            self._paces = {c: p for c, p in self._paces.items() if c in connections}

    def clear(self) -> None:
        """Everything was taken."""
        self._starts.clear()
