"""Answers to calls that nobody asked to hold, kept in case their connection breaks just then.

Whoever asks again for such a call gets its answer. A busy worker answers a thousand calls in the
time that a slow client takes to find out that its connection is of no use: so of each client the
last few are kept, however many the others make.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from agentd.client.fetching import Outcome
from agentd.errors import OutcomeUnknown

__all__ = ["Recent"]

COUNT: Final = 1024
"""So many answers are kept, whosoever they are."""
EACH: Final = 16
"""Of each client so many, too; one that makes blocking calls has one for each of its threads."""
MOST: Final = 16_384
BYTES: Final = 16 * 1024 * 1024
"""Of all clients together, whatever they are due."""
AGE_S: Final = 60.0
"""Beyond ``COUNT`` none is kept for longer: whoever has not asked by then has given up."""
KEYS: Final = 16_384
"""Of so many calls at least it is known that they came, after their answer has gone."""
_CLIENT: Final = 16
"""Bytes of a key that tell whose call it is."""


class Recent:
    """By key of the call. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[Outcome, int, float]] = OrderedDict()
        """With bytes and time of each, the oldest first."""
        self._of: dict[bytes, deque[bytes]] = {}
        """By client: the keys of those, the oldest first."""
        self._bytes = 0
        self._came: set[bytes] = set()
        self._came_before: set[bytes] = set()
        """Up to ``KEYS`` each; the older ones are forgotten together."""
        self._forgot = False

    def remember(self, key: bytes, outcome: Outcome, size: int) -> None:
        """Keep the answer, of ``size`` bytes, and that the call came."""
        if key in self._answers:
            self._drop(key)
        client = key[:_CLIENT]
        mine = self._of.get(client)
        if mine is None:
            mine = self._of[client] = deque()
        mine.append(key)
        self._answers[key] = outcome, size, self._clock()
        self._bytes += size
        if len(self._answers) > COUNT or self._bytes > BYTES:
            self._make_room(mine)
        self.came(key)

    def _make_room(self, mine: deque[bytes]) -> None:
        """``mine``: the keys of who has just got one more; he gives way if he has many."""
        while len(self._answers) > COUNT or self._bytes > BYTES:
            oldest = mine[0] if len(mine) > EACH else next(iter(self._answers))
            if len(mine) <= EACH and not self._must_go(oldest):
                break
            self._drop(oldest)

    def _must_go(self, key: bytes) -> bool:
        over = len(self._answers) > MOST or self._bytes > BYTES
        return over or self._answers[key][2] < self._clock() - AGE_S

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._answers.pop(key)[1]
        client = key[:_CLIENT]
        theirs = self._of[client]
        theirs.remove(key)  # the first, as a rule
        if not theirs:
            del self._of[client]

    def arrived(self, key: bytes) -> None:
        """Its client has the answer: nobody will ask for it again."""
        if key in self._answers:
            self._drop(key)

    def came(self, key: bytes) -> None:
        """The call came: asked for again, it must not be run again."""
        self._came.add(key)
        if len(self._came) >= KEYS:
            self._forgot = self._forgot or bool(self._came_before)
            self._came, self._came_before = set(), self._came

    def recall(self, key: bytes) -> Outcome | OutcomeUnknown | None:
        """The answer to a call that is asked for again; ``None``: it never came here."""
        found = self._answers.get(key)
        if found is not None:
            return found[0]
        if key in self._came or key in self._came_before:
            return OutcomeUnknown(
                "the connection broke during the call, and its answer is not kept any more",
                started=True,
            )
        if not self._forgot:
            return None
        return OutcomeUnknown(
            "the connection broke during the call; whether it came to the worker is not known",
            started=None,
        )
