"""Iterators that stay in the worker and are read from afar, a batch at a time.

For what a method returns without being a generator function itself (``__iter__``, a file-like
object, ``map``): each batch is a call of its own, so that the agent can be used between two items.
Generator methods are streams (see ``agentd.worker.streams``).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import OrderedDict
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

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: OrderedDict[int, Iterator[Any]] = OrderedDict()

    def open(self, iterator: Iterator[Any]) -> int:
        """Keep it; the number by which it is read."""
        number = next(self._numbers)
        self._open[number] = iterator
        while len(self._open) > MAX_ITERATORS:
            self.close(next(iter(self._open)))
        return number

    def take(self, number: int) -> tuple[list[Any], bool]:
        """The next items, and whether the iterator is at its end.

        At least one; more only as long as they come quickly, so that a slow source is passed on
        item by item and a fast one in batches.
        """
        iterator = self._open.get(number)
        if iterator is None:
            raise ProtocolError(
                "this iterator was closed: it was read to its end, let go, or more than "
                f"{MAX_ITERATORS} were open on the agent at once"
            )
        self._open.move_to_end(number)
        items: list[Any] = []
        try:
            until = time.monotonic() + BATCH_S
            while len(items) < BATCH:
                items.append(next(iterator))
                if time.monotonic() > until:
                    break
        except StopIteration:
            del self._open[number]
            return items, True
        except BaseException as error:
            self._open.pop(number, None)
            if not items:
                raise
            self._open[number] = _Raising(error)  # the items before it come first
        return items, False

    def close(self, number: int) -> None:
        """Let go of it; a generator runs its ``finally`` now."""
        iterator = self._open.pop(number, None)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()

    def close_all(self) -> None:
        """The agent ends."""
        for number in list(self._open):
            with contextlib.suppress(Exception):
                self.close(number)


class _Raising:
    """An iterator that has nothing but an exception."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error
