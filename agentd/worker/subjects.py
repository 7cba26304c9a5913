"""What a worker knows of agents that decides who may deal with them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from agentd.ids import show
from agentd.protocol.access import Subject

__all__ = ["Subjects"]

REMEMBERED: Final = 10_000
"""Agents that are not here any more: as many as a daemon remembers by default."""


class Subjects:
    """The agents of this worker, and those that were here until lately.

    Who may call one of these is told that it has moved; without it that peer would be told what one
    is told who may not. Of all others the id alone is known, by which a grant seldom lists any.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        """``most``: how many of those that left are remembered."""
        self._most = most
        self._here: dict[bytes, Subject] = {}
        self._left: OrderedDict[bytes, Subject] = OrderedDict()

    def of(self, agent: bytes) -> Subject:
        """What is known of it."""
        return self._here.get(agent) or self._left.get(agent) or Subject(show(agent))

    def came(self, agent: bytes, name: str | None, maker: str) -> None:
        """It is hosted here now."""
        self._left.pop(agent, None)
        self._here[agent] = Subject(show(agent), name or "", maker)

    def left(self, agent: bytes) -> None:
        """It is not hosted here any more. From any thread."""
        known = self._here.pop(agent, None)
        if known is not None:
            self._left[agent] = known
            while len(self._left) > self._most:
                self._left.popitem(last=False)
