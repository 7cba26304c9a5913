"""What may be in flight at once: calls and bytes, of one client, for one agent, in all.

Whoever accepts a question takes for it, whoever answers it gives back; a question that does not
fit is refused with ``Overloaded``, which names the limit and says when to try again. What is taken
is remembered by the question (``take``, ``give``), or by who asks (``open``, ``close``). Pure: the
clock is passed in. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple, TypeAlias

from agentd.errors import Overloaded

__all__ = ["Budgets", "Held", "Room"]

FIRST_HINT_S: Final = 0.1
SHORTEST_HINT_S: Final = 0.05
LONGEST_HINT_S: Final = 5.0
KEPT: Final = 64
"""Accounts that are kept although nothing is open: who asks one thing after the other needs his
again."""
WEIGHT: Final = 0.1
"""Of the newest in the average of how long questions stay open."""


class Room(NamedTuple):
    """What one kind of holder may have in flight: ``client``, ``agent`` or ``daemon``."""

    calls: int
    bytes: int


class _Account:
    """What one holder has in flight, and may have."""

    __slots__ = ("bytes", "calls", "holder", "kind", "most_bytes", "most_calls", "questions")

    def __init__(self, kind: str, holder: Hashable, most: Room) -> None:
        self.kind = kind
        self.holder = holder
        self.most_calls, self.most_bytes = most
        self.calls = 0
        self.bytes = 0
        self.questions: dict[Hashable, None] = {}
        """Which: of clients only, and where they are remembered by the question."""


Held: TypeAlias = tuple[_Account, _Account | None, int, float]
"""What a question takes: of which client, of which agent, how many bytes, and since when."""


class Budgets:
    """Who has how much in flight."""

    def __init__(self, client: Room, agent: Room, total: Room, clock: Callable[[], float]) -> None:
        self._client = client
        self._agent = agent
        self._clock = clock
        self._held: dict[Hashable, Held] = {}
        """By question."""
        self._clients: dict[Hashable, _Account] = {}
        self._agents: dict[Hashable, _Account] = {}
        self._all = _Account("daemon", None, total)
        self._stay = FIRST_HINT_S
        self.refused: dict[str, int] = {}
        """How often each limit was met, by the name of its setting."""

    def __len__(self) -> int:
        """How many questions are open."""
        return self._all.calls

    def holds(self, question: Hashable) -> bool:
        """Whether that question is open."""
        return question in self._held

    def take(self, question: Hashable, client: Hashable, agent: Hashable | None, size: int) -> None:
        """Take for a question that is not open; raises ``Overloaded``, and then takes nothing."""
        assert question not in self._held, "a question is opened once"
        held = self._held[question] = self.open(client, agent, size)
        held[0].questions[question] = None

    def open(self, client: Hashable, agent: Hashable | None, size: int) -> Held:
        """Take for a question what ``close`` gives back; raises ``Overloaded``."""
        mine, total = self._clients.get(client), self._all
        if mine is None:
            mine = _Account("client", client, self._client)
        if mine.calls >= mine.most_calls or mine.bytes + size > mine.most_bytes:
            raise self._overloaded(mine, size)
        called = None
        if agent is not None:
            called = self._agents.get(agent)
            if called is None:
                called = _Account("agent", agent, self._agent)
            if called.calls >= called.most_calls or called.bytes + size > called.most_bytes:
                raise self._overloaded(called, size)
        if total.calls >= total.most_calls or total.bytes + size > total.most_bytes:
            raise self._overloaded(total, size)
        if called is not None:
            called.calls += 1
            called.bytes += size
            self._agents[agent] = called
        mine.calls += 1
        mine.bytes += size
        self._clients[client] = mine
        total.calls += 1
        total.bytes += size
        return mine, called, size, self._clock()

    def close(self, held: Held, at: float) -> None:
        """Give back what a question took that was answered ``at`` that time; once."""
        mine, called, size, since = held
        self._stay += WEIGHT * (at - since - self._stay)
        total = self._all
        total.calls -= 1
        total.bytes -= size
        mine.calls -= 1
        mine.bytes -= size
        if not mine.calls and len(self._clients) > KEPT:
            del self._clients[mine.holder]
        if called is not None:
            called.calls -= 1
            called.bytes -= size
            if not called.calls and len(self._agents) > KEPT:
                del self._agents[called.holder]

    def give(self, question: Hashable) -> bool:
        """Give back what a question holds; False if it holds nothing (any more)."""
        held = self._held.pop(question, None)
        if held is None:
            return False
        del held[0].questions[question]
        self.close(held, self._clock())
        return True

    def give_all(self, client: Hashable) -> int:
        """Give back all that a client holds: it is gone. How many questions that were."""
        account = self._clients.get(client)
        questions = [] if account is None else list(account.questions)
        for question in questions:
            self.give(question)
        return len(questions)

    def used(self, kind: str, holder: Hashable = None) -> Room:
        """What a client, an agent or the daemon has in flight."""
        if kind == "daemon":
            account: _Account | None = self._all
        else:
            account = (self._clients if kind == "client" else self._agents).get(holder)
        return Room(0, 0) if account is None else Room(account.calls, account.bytes)

    def _overloaded(self, account: _Account, size: int) -> Overloaded:
        kind = account.kind
        if account.calls >= account.most_calls:
            what, limit = "calls", account.most_calls
            has = f"{account.calls:,} open calls"
        else:
            what, limit = "bytes", account.most_bytes
            has = f"{account.bytes:,} bytes in flight, {size:,} more would come"
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
