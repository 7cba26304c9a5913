"""Peers over TCP that have sent more than the longest message there is, and finished none.

It is no message, whatever may come yet, and opening it (CURVE) takes most of a core. Who is
disconnected for it is back at once and begins anew. So it is held up first (see ``brake``), which
costs nobody anything, and disconnected when that has lasted a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agentd.transport.connections import Connection, Connections
from agentd.transport.loop import Loop
from agentd.transport.process import give_memory_back
from agentd.transport.rounds import Rounds

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["EAGER_S", "HELD_S", "SEEN", "USUAL_S", "Overlong"]

log = logging.getLogger("agentd.transport")

USUAL_S: Final = 0.05
"""Between two looks, while nobody is in a long message."""
EAGER_S: Final = 0.01
SHARE: Final = 50
"""And at least so many times as long as the last round of them took."""
WARY_S: Final = 30.0
"""For so long after somebody was held up it is looked eagerly: the next one is seen at once."""
LONG: Final = 1024 * 1024
"""Bytes of one message from which on it is watched."""
SPARE: Final = 2
"""Times the longest message that is taken, a peer may send: of one that is a little too long it is
told so, by ``PayloadTooLarge``."""
SEEN: Final = 3
"""Looks at which it was too much: by then each message that was finished has been read."""
HELD_S: Final = 10.0
"""Until it is disconnected, and its memory free for others."""
LATE_S: Final = 1.0
"""Then libzmq has let go of what a connection had sent that was ended."""


@dataclass(slots=True)
class _Seen:
    """A connection, when it was first seen to be in this message."""

    messages: int
    received: int
    times: int = 0
    """How often what came of the message was too much."""


class Overlong:
    """Looks at all connections over TCP. In the loop's thread only."""

    def __init__(
        self,
        loop: Loop,
        connections: Connections,
        longest: int,
        hold: Callable[[Connection, str, float], bool],
    ) -> None:
        """``longest``: bytes of the longest message. ``hold`` one up: why, seconds; if it is."""
        self._loop = loop
        self._connections = connections
        self._most = SPARE * longest
        self._hold = hold
        self._fronts: dict[int, FrontPort] = {}
        self._seen: dict[Connection, _Seen] = {}
        self._before: dict[Connection, _Seen] = {}
        self._rounds = Rounds(loop, connections, self._look_at, self._ended, SHARE)
        self._eager = False
        """Whether somebody is in a long message."""
        self._ending: set[Connection] = set()
        self._wary_until = -WARY_S
        self.disconnected = 0
        """Peers that had sent more."""

    def follow(self, number: int, front: FrontPort) -> None:
        """Look at what comes by that socket, which is the ``number``-th."""
        if not self._fronts:
            self._loop.later(USUAL_S, self._rounds.begin)
        self._fronts[number] = front

    def _ended(self) -> float:
        self._before, self._seen = self._seen, {}
        eager, self._eager = self._eager, False
        return EAGER_S if eager or self._loop.clock() < self._wary_until else USUAL_S

    def _look_at(self, connection: Connection) -> None:
        if connection.front not in self._fronts:
            return
        received = self._connections.received(connection)
        seen = self._before.get(connection)
        if seen is None or seen.messages != connection.messages:
            seen = _Seen(connection.messages, received if connection.messages else 0)
        self._seen[connection] = seen
        size = received - seen.received
        if size > LONG:
            self._eager = True
            self._judge(connection, seen, size)

    def _judge(self, connection: Connection, seen: _Seen, size: int) -> None:
        # Of what waits in the kernel nobody knows whether a message is finished by it.
        size -= self._connections.pending(connection)
        if size <= self._most or not self._fronts[connection.front].drained:
            return
        seen.times += 1
        if seen.times < SEEN:
            return
        self._wary_until = self._loop.clock() + WARY_S
        connection.overlong = True
        why = f"{size >> 20} MiB of what it sent are no message yet"
        held = self._hold(connection, why, HELD_S)
        if connection not in self._ending:
            self._ending.add(connection)
            self._loop.later(HELD_S if held else 0.0, partial(self._end, connection, size))

    def _end(self, connection: Connection, size: int) -> None:
        self._ending.discard(connection)
        who = self._connections.who(connection)
        if not self._connections.end(connection):
            return
        self.disconnected += 1
        self._loop.later(LATE_S, give_memory_back)
        log.warning(
            "%s was disconnected: of what it sent %d MiB are no message yet, and none may be "
            "longer than %d MiB (max_message_bytes)",
            who,
            size >> 20,
            self._most // SPARE >> 20,
            extra={"action": "disconnected_unfinished", "peer": who, "waiting": size},
        )
