"""Iterators that stay in the worker and are read from afar, a batch at a time.

For what a method returns without being a generator function itself (``__iter__``, a file-like
object, ``map``): each batch is a call of its own, so that the agent can be used between two items.
Generator methods are streams (see ``agentd.worker.streams``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from agentd.errors import ProtocolError

__all__ = ["Iterators"]

MAX_ITERATORS: Final = 256
"""Open iterators per agent; the one longest unread is closed for the next one."""
BATCH: Final = 256
BATCH_S: Final = 0.01
"""Items per message, and how long to collect them: far below what a person notices."""


class Iterators:
    """Iterators that stay here and are read from afar, a batch at a time."""

    __slots__ = ("_guests", "_last", "_open")

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, Iterator[Any]] = {}
        """The one longest unread comes first."""
        self._guests: dict[int, str] = {}
        """Whose each is: numbers are easily guessed, and are of use to nobody else."""

    def open(self, iterator: Iterator[Any], guest: str = "") -> int:
        """Keep it; the number by which it is read, by the same restricted peer only."""
        self._last = number = self._last + 1
        self._open[number] = iterator
        self._guests[number] = guest
        while len(self._open) > MAX_ITERATORS:
            self._close(next(iter(self._open)))
        return number

    def take(self, number: int, guest: str = "") -> tuple[list[Any], bool]:
        """The next items, and whether the iterator is at its end.

        At least one; more only as long as they come quickly, so that a slow source is passed on
        item by item and a fast one in batches.
        """
        iterator = self._open.get(number)
        if iterator is None or not self._may(number, guest):
            raise ProtocolError(
                "this iterator was closed: it was read to its end, let go, or more than "
                f"{MAX_ITERATORS} were open on the agent at once"
            )
        self._open[number] = self._open.pop(number)
        items: list[Any] = []
        try:
            until = time.monotonic() + BATCH_S
            while len(items) < BATCH:
                items.append(next(iterator))
                if time.monotonic() > until:
                    break
        except StopIteration:
            del self._open[number], self._guests[number]
            return items, True
        except BaseException as error:
            self._open.pop(number, None)
            if not items:
                self._guests.pop(number, None)
                raise
            self._open[number] = _Raising(error)  # the items before it come first
        return items, False

    def close(self, number: int, guest: str = "") -> None:
        """Let go of it; a generator runs its ``finally`` now."""
        if self._may(number, guest):
            self._close(number)

    def _may(self, number: int, guest: str) -> bool:
        return guest in ("", self._guests.get(number))

    def _close(self, number: int) -> None:
        self._guests.pop(number, None)
        iterator = self._open.pop(number, None)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()

    def close_all(self) -> None:
        """The agent ends."""
        for number in list(self._open):
            with contextlib.suppress(Exception):
                self._close(number)


class _Raising:
    """An iterator that has nothing but an exception."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error
