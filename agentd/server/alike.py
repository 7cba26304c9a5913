"""What the agents of a class have in common is kept once: most are made in the same way."""

from __future__ import annotations

from typing import Any, Final

from agentd.protocol.messages import Create

__all__ = ["MOST_CLASSES", "Alike"]

MOST_CLASSES: Final = 256
"""Of so many classes it is known how their last agent was made."""
SMALL: Final = 4 * 1024
"""Bytes of a payload: longer ones are hardly ever equal, and not kept for agents to come."""
_ID, _AGENT, _AT = map(Create.names.index, ("id", "agent", "at"))
_FIRST: Final = max(_ID, _AGENT) + 1


class Alike:
    """How the last agent of each class was made, and what it is."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Create, list[Any]]] = {}
        self._abouts: dict[str, dict[str, Any]] = {}

    def made(self, spec: Create, payload: list[Any]) -> tuple[Create, list[Any]]:
        """The same order without what is one agent's own, and its payload.

        Those of the last agent of the class, as far as they are equal: there may be a hundred
        thousand of them.
        """
        last, content = self._made.get(spec.cls, _NEVER)
        if last[_FIRST:_AT] != spec[_FIRST:_AT] or last[_AT + 1 :] != spec[_AT + 1 :]:
            last = spec.changed(id=0, agent=b"", at=0.0)
        elif payload == content:
            return last, content
        if all(type(part) is bytes for part in payload) and sum(map(len, payload)) <= SMALL:
            self._keep(self._made, spec.cls, (last, payload))
        return last, payload

    def about(self, cls: str, about: dict[str, Any]) -> dict[str, Any]:
        """The description of a class: the last one, if it is equal."""
        last = self._abouts.get(cls)
        if last == about:
            return last
        self._keep(self._abouts, cls, about)
        return about

    @staticmethod
    def _keep(known: dict[str, Any], cls: str, value: Any) -> None:
        if len(known) >= MOST_CLASSES and cls not in known:
            known.clear()
        known[cls] = value


_NEVER: Final = (Create(0, b"", "", "", ""), list[Any]())
