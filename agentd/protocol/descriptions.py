"""Descriptions of classes between a worker and its daemon: each is sent once, then meant by number.

A worker builds agents by the thousand, and what their class offers is most of what it has to tell
of one. Both sides keep the last ``MOST``, the one as it sends them, the other as it gets them.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MOST", "Heard", "Told"]

MOST: Final = 256
"""Descriptions that are kept; part of the protocol."""


class Told:
    """What was sent. Whoever uses it sends in the order in which it was asked."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, dict[str, Any]]] = {}
        self._last = 0

    def tell(self, about: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The number of a description, and what is to be sent of it: nothing if it was."""
        known = self._told.get(id(about))  # it is kept, so no other one is at that address
        if known is not None:
            return known[0], {}
        self._last += 1
        self._told[id(about)] = self._last, about
        if len(self._told) > MOST:
            del self._told[next(iter(self._told))]
        return self._last, about


class Heard:
    """What came."""

    def __init__(self) -> None:
        self._heard: dict[int, dict[str, Any]] = {}

    def hear(self, number: int, about: dict[str, Any]) -> dict[str, Any]:
        """The description that is meant; empty if it never came."""
        if not about:
            return self._heard.get(number, {})
        self._heard[number] = about
        if len(self._heard) > MOST:
            del self._heard[next(iter(self._heard))]
        return about
