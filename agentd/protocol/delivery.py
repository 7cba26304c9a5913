"""Answers on their way to clients: how much waits for one that does not read.

libzmq keeps what a client has not read, without bound, and does not tell how much that is. So the
client is asked: after every ``MARK_BYTES`` it gets a ``ping``, whose ``pong`` shows that all
before it was read.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["FIRST_MARK", "Delivery", "Sent"]

MARK_BYTES: Final = 256 * 1024
MESSAGE_BYTES: Final = 256
"""Kept for each message, beside what is in it."""
FIRST_MARK: Final = 2**62
"""Pings of a daemon have numbers that no question has."""


@dataclass(slots=True)
class Sent:
    """What was sent to one client since all it got was read."""

    waiting: int = 0
    """Bytes that it has not shown to have read."""
    since_mark: int = 0
    """Of these, those after the mark that is on its way; all, if there is none."""
    mark: int = 0
    """The number of that mark; 0: there is none."""


class Delivery:
    """What waits for whom. Pure."""

    def __init__(self, most: int) -> None:
        """``most``: bytes that may wait for one client when there is more for it."""
        self._most = most
        self._clients: dict[Hashable, Sent] = {}
        self._next = FIRST_MARK

    def is_behind(self, client: Hashable) -> bool:
        """Whether so much waits for it that it is to be given up."""
        sent = self._clients.get(client)
        return sent is not None and sent.waiting > self._most

    def sent(self, client: Hashable, size: int) -> int:
        """That many bytes were sent; the number of a mark to be sent now, or 0."""
        sent = self._clients.get(client)
        if sent is None:
            sent = self._clients[client] = Sent()
        sent.waiting += size + MESSAGE_BYTES
        sent.since_mark += size + MESSAGE_BYTES
        if sent.mark or sent.since_mark < MARK_BYTES:
            return 0
        self._next += 1
        sent.mark = self._next
        sent.since_mark = 0
        return sent.mark

    def shown(self, client: Hashable, mark: int) -> None:
        """It answered a mark: what was sent before that it has read."""
        sent = self._clients.get(client)
        if sent is not None and sent.mark and mark == sent.mark:
            sent.waiting = sent.since_mark
            sent.mark = 0

    def waiting(self, client: Hashable) -> int:
        """Bytes that may still be unread."""
        sent = self._clients.get(client)
        return 0 if sent is None else sent.waiting

    def total(self) -> int:
        """The same of all clients."""
        return sum(sent.waiting for sent in self._clients.values())

    def forget(self, client: Hashable) -> None:
        """It is gone, and what waited for it."""
        self._clients.pop(client, None)
