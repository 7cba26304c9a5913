"""Agents that were in a worker until lately, as far as that decides who may deal with them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from agentd.ids import show
from agentd.protocol.access import Subject

__all__ = ["Departed"]

REMEMBERED: Final = 10_000
"""As many as a daemon remembers by default."""


class Departed:
    """The last of them. From any thread.

    Who may call one of these is told that it has moved; without it that peer would be told what one
    is told who may not. Of all others the id alone is known, by which a grant seldom lists any.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        """``most``: how many are remembered."""
        self._most = most
        self._left: OrderedDict[bytes, Subject] = OrderedDict()

    def subject(self, agent: bytes) -> Subject:
        """What is known of it."""
        return self._left.get(agent) or Subject(show(agent))

    def remember(self, agent: bytes, subject: Subject) -> None:
        """It is not hosted here any more."""
        self._left[agent] = subject
        while len(self._left) > self._most:
            self._left.popitem(last=False)

    def forget(self, agent: bytes) -> None:
        """It is hosted here again."""
        self._left.pop(agent, None)
