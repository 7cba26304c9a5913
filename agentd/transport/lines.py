"""Messages of many by one connection: each of them has its turn, and its own stay in order. Pure.

What a daemon relays comes by one connection to a worker. Whoever has a hundred calls there would
keep a single call of somebody else waiting behind all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, Final, Generic, TypeVar

__all__ = ["OWN", "Lines", "by_route"]

T = TypeVar("T")


OWN: Final = b""
"""The line of what daemon and worker say for themselves, and may pass what is said for others."""
_IN_TURN: Final = tuple(
    b"\xa4kind" + bytes([0xA0 + len(kind)]) + kind
    for kind in (b"ping", b"pong", b"start", b"started", b"start_failed")
)
"""How their headers go on: signs of life; and agents that begin, to whom nobody speaks before that
is told."""
_FROM: Final = 5
"""Behind magic and the length of the map: see ``protocol.envelope``."""
_TO: Final = _FROM + max(map(len, _IN_TURN))


def by_route(frames: list[Any]) -> bytes | None:
    """Between daemon and worker: who it is relayed for, or from; their own words are nobody's.

    But for those that need not wait for all others, nor all others for them: a ping behind a
    thousand calls, and whoever calls once behind that ping, waited 0.1 s and more.
    """
    if route := bytes(frames[0]):
        return route
    return OWN if bytes(frames[1][_FROM:_TO]).startswith(_IN_TURN) else None


class _Round(Generic[T]):
    """Those who wait, and what of theirs: one of each is taken in turn."""

    __slots__ = ("lines", "order")

    def __init__(self) -> None:
        self.lines: dict[Hashable, deque[T]] = {}
        self.order: deque[Hashable] = deque()


class Lines(Generic[T]):
    """What came, and waits."""

    def __init__(self) -> None:
        self._rounds: deque[_Round[T] | tuple[T]] = deque()
        """What is nobody's is a round of its own: a tuple, as a ``_Round`` takes long to make."""
        self.count = 0
        """How many wait."""

    def put(self, whose: Hashable | None, item: T) -> None:
        """``None``: nobody's. It comes after all that came before, and before all that follows."""
        rounds = self._rounds
        self.count += 1
        if whose is None:
            rounds.append((item,))
            return
        last = rounds[-1] if rounds else None
        if last is None or isinstance(last, tuple):
            last = _Round()
            rounds.append(last)
        line = last.lines.get(whose)
        if line is None:
            line = last.lines[whose] = deque()
            last.order.append(whose)
        line.append(item)

    def __iter__(self) -> Iterator[T]:
        """All that wait, in no order."""
        for each in self._rounds:
            if isinstance(each, tuple):
                yield each[0]
                continue
            for line in each.lines.values():
                yield from line

    def take(self) -> T:
        """The next one; ``IndexError`` if there is none."""
        current = self._rounds[0]
        if isinstance(current, tuple):
            del self._rounds[0]
            self.count -= 1
            return current[0]
        whose = current.order.popleft()
        line = current.lines[whose]
        item = line.popleft()
        self.count -= 1
        if line:
            current.order.append(whose)
        else:
            del current.lines[whose]
            if not current.order:
                self._rounds.popleft()
        return item
