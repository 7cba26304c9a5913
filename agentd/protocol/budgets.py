"""What may be in flight at once: calls and bytes, of one client, for one agent, in all.

Whoever accepts a question takes for it, whoever answers it gives back; a question that does not
fit is refused with ``Overloaded``, which names the limit and says when to try again. Pure: the
clock is passed in. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from agentd.errors import Overloaded

__all__ = ["Budgets", "Room"]

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
        """Which: of clients only."""


class Budgets:
    """Who has how much in flight."""

    def __init__(self, client: Room, agent: Room, total: Room, clock: Callable[[], float]) -> None:
        self._client = client
        self._agent = agent
        self._clock = clock
        self._held: dict[Hashable, tuple[tuple[_Account, ...], int, float]] = {}
        """Of whose accounts each question holds something, how many bytes, and since when."""
        self._clients: dict[Hashable, _Account] = {}
        self._agents: dict[Hashable, _Account] = {}
        self._all = _Account("daemon", None, total)
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
        mine = self._clients.get(client) or _Account("client", client, self._client)
        accounts: tuple[_Account, ...] = (mine, self._all)
        if agent is not None:
            called = self._agents.get(agent) or _Account("agent", agent, self._agent)
            accounts = (mine, called, self._all)
        for account in accounts:
            if account.calls >= account.most_calls or account.bytes + size > account.most_bytes:
                raise self._overloaded(account, size)
        for account in accounts:
            account.calls += 1
            account.bytes += size
        self._clients[client] = mine
        if agent is not None:
            self._agents[agent] = called
        mine.questions[question] = None
        self._held[question] = (accounts, size, self._clock())

    def give(self, question: Hashable) -> bool:
        """Give back what a question holds; False if it holds nothing (any more)."""
        taken = self._held.pop(question, None)
        if taken is None:
            return False
        accounts, size, since = taken
        self._stay += WEIGHT * (self._clock() - since - self._stay)
        for account in accounts:
            account.calls -= 1
            account.bytes -= size
        mine = accounts[0]
        del mine.questions[question]
        if not mine.calls and len(self._clients) > KEPT:
            del self._clients[mine.holder]
        if len(self._agents) > KEPT and len(accounts) > 2 and not accounts[1].calls:
            del self._agents[accounts[1].holder]
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
