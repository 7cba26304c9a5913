"""Outcomes that wait where they were made: fetched by others, released, or, at last, expired."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from agentd.client.fetching import Outcome
from agentd.errors import AgentdError, Overloaded, ResultExpired

__all__ = ["Outcomes"]

MAX_COUNT: Final = 10_000
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_AGE_S: Final = 600.0
"""What a worker keeps at most. Released outcomes go at once; these bounds are for the forgotten."""
EARLY_S: Final = 5.0
"""A reference may be quicker than the call that it refers to; so long is an unknown one awaited."""


Taker = Callable[[Outcome | AgentdError], None]


class Outcomes:
    """By key of the call. From any thread."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later = later
        self._clock = clock
        self._lock = threading.Lock()  # protects all below
        self._open: set[bytes] = set()
        self._done: OrderedDict[bytes, tuple[Outcome, int, float]] = OrderedDict()
        self._bytes = 0
        self._takers: dict[bytes, list[Taker]] = {}

    def expect(self, key: bytes) -> bool:
        """A call whose outcome is to be held has come; False if it came before.

        One that was refused as there was no room has not been started, and is new each time.
        """
        with self._lock:
            found = self._done.get(key)
            if found is not None and getattr(found[0].message, "code", "") == Overloaded.code:
                self._drop(key)
            if key in self._open or key in self._done:
                return False
            self._open.add(key)
            return True

    def put(self, key: bytes, outcome: Outcome) -> None:
        """It is done."""
        size = sum(memoryview(part).nbytes for part in outcome.payload)
        with self._lock:
            takers = self._takers.pop(key, ())
            if key in self._open:
                self._open.discard(key)
                self._done[key] = (outcome, size, self._clock())
                self._bytes += size
                self._shed()
        for take in takers:
            take(outcome)

    def fetch(self, key: bytes, take: Taker) -> None:
        """Call ``take`` with the outcome, as soon as there is one, or with ``ResultExpired``."""
        with self._lock:
            found = self._done.get(key)
            if found is None:
                self._takers.setdefault(key, []).append(take)
                known = key in self._open
        if found is not None:
            take(found[0])
        elif not known:
            self._later(EARLY_S, lambda: self._give_up(key))

    def release(self, key: bytes) -> None:
        """Nobody will fetch it any more."""
        with self._lock:
            self._open.discard(key)
            self._drop(key)

    def _give_up(self, key: bytes) -> None:
        with self._lock:
            if key in self._open:
                return
            takers = self._takers.pop(key, ())
        for take in takers:
            take(
                ResultExpired(
                    "the result is not kept any more: it was released, or the worker holds more "
                    f"than {MAX_COUNT} results, {MAX_BYTES >> 20} MiB, or held it longer than "
                    f"{MAX_AGE_S:g} s"
                )
            )

    def _drop(self, key: bytes) -> None:
        found = self._done.pop(key, None)
        if found is not None:
            self._bytes -= found[1]

    def _shed(self) -> None:
        oldest = self._clock() - MAX_AGE_S
        while self._done:
            key, (_outcome, _size, at) = next(iter(self._done.items()))
            if len(self._done) <= MAX_COUNT and self._bytes <= MAX_BYTES and at >= oldest:
                return
            self._drop(key)
