"""What may be in flight at once: calls and bytes, of one client, for one agent, in all.

Whoever accepts a question takes for it, whoever answers it gives back; a question that does not
fit is refused with ``Overloaded``, which names the limit and says when to try again. Pure: the
clock is passed in. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from agentd.errors import Overloaded

__all__ = ["Budgets", "Room", "Taken"]

FIRST_HINT_S: Final = 0.1
SHORTEST_HINT_S: Final = 0.05
LONGEST_HINT_S: Final = 5.0
WEIGHT: Final = 0.1
"""Of the newest in the average of how long questions stay open."""


class Room(NamedTuple):
    """What one kind of holder may have in flight: ``client``, ``agent`` or ``daemon``."""

    calls: int
    bytes: int


class Taken(NamedTuple):
    """What one question holds."""

    client: Hashable
    agent: Hashable | None
    bytes: int
    since: float


@dataclass(slots=True)
class _Used:
    calls: int = 0
    bytes: int = 0


class Budgets:
    """Who has how much in flight."""

    def __init__(self, client: Room, agent: Room, total: Room, clock: Callable[[], float]) -> None:
        self._rooms = {"client": client, "agent": agent, "daemon": total}
        self._clock = clock
        self._held: dict[Hashable, Taken] = {}
        self._used: dict[tuple[str, Hashable], _Used] = {}
        self._of_client: dict[Hashable, dict[Hashable, None]] = {}
        self._stay = FIRST_HINT_S
        self.refused: dict[str, int] = {}
        """How often each limit was met, by the name of its setting."""

    def __len__(self) -> int:
        """How many questions are open."""
        return len(self._held)

    def holds(self, question: Hashable) -> bool:
        """Whether that question is open."""
        return question in self._held

    def take(self, question: Hashable, client: Hashable, agent: Hashable | None, size: int) -> None:
        """Take for a question that is not open; raises ``Overloaded``, and then takes nothing."""
        assert question not in self._held, "a question is opened once"
        holders = list(_holders(client, agent))
        for holder in holders:
            self._check(holder, size)
        self._held[question] = Taken(client, agent, size, self._clock())
        self._of_client.setdefault(client, {})[question] = None
        for holder in holders:
            used = self._used.setdefault(holder, _Used())
            used.calls += 1
            used.bytes += size

    def give(self, question: Hashable) -> bool:
        """Give back what a question holds; False if it holds nothing (any more)."""
        taken = self._held.pop(question, None)
        if taken is None:
            return False
        stayed = self._clock() - taken.since
        self._stay += WEIGHT * (stayed - self._stay)
        questions = self._of_client[taken.client]
        del questions[question]
        if not questions:
            del self._of_client[taken.client]
        for holder in _holders(taken.client, taken.agent):
            used = self._used[holder]
            used.calls -= 1
            used.bytes -= taken.bytes
            if not used.calls:
                del self._used[holder]
        return True

    def give_all(self, client: Hashable) -> int:
        """Give back all that a client holds: it is gone. How many questions that were."""
        questions = list(self._of_client.get(client, ()))
        for question in questions:
            self.give(question)
        return len(questions)

    def used(self, kind: str, holder: Hashable = None) -> Room:
        """What a client, an agent or the daemon has in flight."""
        found = self._used.get((kind, holder), _Used())
        return Room(found.calls, found.bytes)

    def _check(self, holder: tuple[str, Hashable], size: int) -> None:
        kind = holder[0]
        room = self._rooms[kind]
        used = self._used.get(holder)
        calls, held = (used.calls, used.bytes) if used is not None else (0, 0)
        if calls >= room.calls:
            raise self._overloaded(kind, "calls", room.calls, f"{calls:,} open calls")
        if held + size > room.bytes:
            raise self._overloaded(
                kind, "bytes", room.bytes, f"{held:,} bytes in flight, {size:,} more would come"
            )

    def _overloaded(self, kind: str, what: str, limit: int, has: str) -> Overloaded:
        setting = f"{kind}_{what}"
        self.refused[setting] = self.refused.get(setting, 0) + 1
        hint = round(min(LONGEST_HINT_S, max(SHORTEST_HINT_S, self._stay)), 3)
        who = {"client": "this client", "agent": "the agent", "daemon": "the daemon"}[kind]
        return Overloaded(
            f"{who} has {has}; {setting} = {limit:,}. Nothing was started; try again in {hint:g} s",
            limit=limit,
            retry_after=hint,
            setting=setting,
        )


def _holders(client: Hashable, agent: Hashable | None) -> Iterator[tuple[str, Hashable]]:
    yield "client", client
    if agent is not None:
        yield "agent", agent
    yield "daemon", None
