"""Outcomes that wait where they were made: fetched by others, released, or, at last, expired."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from agentd.client.fetching import Outcome
from agentd.errors import AgentdError, OutcomeUnknown, Overloaded, ResultExpired
from agentd.protocol.sizes import size_of
from agentd.transport.process import give_memory_back
from agentd.worker.recent import Recent

__all__ = ["Outcomes"]

MAX_COUNT: Final = 10_000
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_AGE_S: Final = 600.0
"""What a worker keeps at most. Released outcomes go at once; these bounds are for the forgotten."""
LAZY_BYTES: Final = 64 * 1024
"""A smaller value is sent at once, wanted or not, unless it was handed on before it was there: a
second trip would cost more than it."""
LATE_S: Final = 1.0
"""How much later than its time memory may be given back."""
RETURN_BYTES: Final = 32 * 1024 * 1024
"""When so many were let go, the system gets their memory back. The C library may keep it for ever:
all that lies in an arena below something small that is still used."""
EARLY_S: Final = 5.0
"""A reference may be quicker than the call that it refers to; so long is an unknown one awaited."""


Taker = Callable[[Outcome | AgentdError], None]


class Outcomes:
    """By key of the call. From any thread."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], Any],
        clock: Callable[[], float] = time.monotonic,
        give_back: Callable[[], None] = give_memory_back,
    ) -> None:
        self._later = later
        self._clock = clock
        self._give_back = give_back
        self._lock = threading.Lock()  # protects all below
        self._open: set[bytes] = set()
        self._done: OrderedDict[bytes, tuple[Outcome, int, float]] = OrderedDict()
        self._bytes = 0
        self._let_go_bytes = 0
        """Since memory was last given back."""
        self._undelivered: dict[bytes, int] = {}
        self._undelivered_bytes = 0
        self._timer = False
        self._takers: dict[bytes, list[Taker]] = {}
        self._recent = Recent(clock)

    def expect(self, key: bytes) -> bool:
        """A call whose outcome is to be held has come; False if it came before.

        One that was refused as there was no room has not been started, and is new each time.
        """
        with self._lock:
            found = self._done.get(key)
            if found is not None and found[2] < self._clock() - MAX_AGE_S:
                self._let_go(key)
                found = None
            if found is not None and getattr(found[0].message, "code", "") == Overloaded.code:
                self._drop(key)
            if key in self._open or key in self._done:
                return False
            self._open.add(key)
            return True

    def put(
        self, key: bytes, outcome: Outcome, *, lazy: bool = False, handed_on: bool = False
    ) -> bool:
        """It is done; True if it need not be delivered: it stays here, as it is big or handed on.

        What was not delivered goes last when there is no more room, and takes half of it at most.
        """
        size = size_of(outcome.payload)
        with self._lock:
            takers = self._takers.pop(key, ()) if self._takers else ()
            if key in self._open:
                self._open.discard(key)
                self._done[key] = (outcome, size, self._clock())
                self._bytes += size
                if (handed_on or (lazy and size > LAZY_BYTES)) and self._may_stay(size):
                    self._undelivered[key] = size
                    self._undelivered_bytes += size
                if len(self._done) > MAX_COUNT or self._bytes > MAX_BYTES:
                    self._shed()
                if not self._timer:
                    self._arm()
            stays = key in self._undelivered
        for take in takers:
            take(outcome)
        return stays

    def _may_stay(self, size: int) -> bool:
        return (
            self._undelivered_bytes + size <= MAX_BYTES // 2
            and len(self._undelivered) < MAX_COUNT // 2
        )

    def remember(self, key: bytes, outcome: Outcome) -> None:
        """Keep the answer to a call for a while, in case it does not arrive."""
        size = size_of(outcome.payload)
        with self._lock:
            self._recent.remember(key, outcome, size)

    def arrived(self, key: bytes) -> None:
        """The answer that was kept in case it does not arrive has done so."""
        with self._lock:
            self._recent.arrived(key)

    def recall(self, key: bytes) -> Outcome | OutcomeUnknown | None:
        """What became of a call that is asked for again; ``None``: it never came here."""
        with self._lock:
            self._shed()
            if key in self._done:
                return self._done[key][0]
            return self._recent.recall(key)

    def fetch(self, key: bytes, take: Taker) -> None:
        """Call ``take`` with the outcome, as soon as there is one, or with ``ResultExpired``."""
        with self._lock:
            self._shed()
            found = self._done.get(key)
            if found is None:
                self._takers.setdefault(key, []).append(take)
                known = key in self._open
        if found is not None:
            take(found[0])
        elif not known:
            self._later(EARLY_S, lambda: self._give_up(key))

    def release(self, *keys: bytes) -> None:
        """Nobody will fetch them any more."""
        with self._lock:
            for key in keys:
                found = self._done.pop(key, None)
                if found is not None:
                    self._dropped(key, found[1])
                elif key in self._open:
                    self._open.discard(key)
                else:
                    continue
                self._recent.came(key)

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
            self._dropped(key, found[1])

    def _dropped(self, key: bytes, size: int) -> None:
        self._bytes -= size
        before = self._let_go_bytes
        now = self._let_go_bytes = before + size
        if before < RETURN_BYTES <= now:
            self._later(LATE_S, self._return)
        if self._undelivered:
            self._undelivered_bytes -= self._undelivered.pop(key, 0)

    def _return(self) -> None:
        with self._lock:
            self._let_go_bytes = 0
        self._give_back()

    def _arm(self) -> None:
        """Have the oldest one go when its time is over, though nothing else may come."""
        if self._done and not self._timer:
            self._timer = True
            _outcome, _size, at = next(iter(self._done.values()))
            self._later(max(0.0, at + MAX_AGE_S - self._clock()) + LATE_S, self._grow_old)

    def _grow_old(self) -> None:
        with self._lock:
            self._timer = False
            self._shed()
            self._arm()

    def _shed(self) -> None:
        oldest = self._clock() - MAX_AGE_S
        while self._done:
            key, (_outcome, _size, at) = next(iter(self._done.items()))
            if at >= oldest:
                if len(self._done) <= MAX_COUNT and self._bytes <= MAX_BYTES:
                    return
                key = next((k for k in self._done if k not in self._undelivered), key)
            self._let_go(key)

    def _let_go(self, key: bytes) -> None:
        """Keep of a call that it came: asked for again, it must not be run again."""
        self._drop(key)
        self._recent.came(key)
