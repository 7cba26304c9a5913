"""Messages of many by one connection: each of them has its turn, and its own stay in order. Pure.

What a daemon relays comes by one connection to a worker. Whoever has a hundred calls there would
keep a single call of somebody else waiting behind all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Lines", "by_route"]

T = TypeVar("T")


def by_route(frames: list[Any]) -> bytes | None:
    """Between daemon and worker: who it is relayed for, or from; their own words are nobody's."""
    return bytes(frames[0]) or None


class _Round(Generic[T]):
    """Those who wait, and what of theirs: one of each is taken in turn."""

    __slots__ = ("lines", "order")

    def __init__(self) -> None:
        self.lines: dict[Hashable, deque[T]] = {}
        self.order: deque[Hashable] = deque()


class Lines(Generic[T]):
    """What came, and waits."""

    def __init__(self) -> None:
        self._rounds: deque[_Round[T]] = deque()
        self.count = 0
        """How many wait."""

    def put(self, whose: Hashable | None, item: T) -> None:
        """``None``: nobody's. It comes after all that came before, and before all that follows."""
        rounds = self._rounds
        self.count += 1
        if whose is None or not rounds or None in rounds[-1].lines:
            rounds.append(_Round())
        last = rounds[-1]
        line = last.lines.get(whose)
        if line is None:
            line = last.lines[whose] = deque()
            last.order.append(whose)
        line.append(item)

    def __iter__(self) -> Iterator[T]:
        """All that wait, in no order."""
        for each in self._rounds:
            for line in each.lines.values():
                yield from line

    def take(self) -> T:
        """The next one; ``IndexError`` if there is none."""
        current = self._rounds[0]
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
