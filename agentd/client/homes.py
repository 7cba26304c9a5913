"""References between two names of one daemon: its own, by ipc, and that by which a client knows it.

A daemon's agents name it by its ipc endpoint, which means nothing on another host, or something
else. So a client that came over TCP writes down, in all that it sends there, the daemon's own name
for itself, and reads it as the endpoint that it knows.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

__all__ = ["AtHome"]

_AGENT_AT: Final = 1
_OTHERS_AT: Final = 3
"""Where the endpoint stands in a reference to an agent, and to a result or a file."""


class Refs(Protocol):
    """How references are written and read (see ``agentd.client.references``)."""

    def to_wire(self, obj: object) -> tuple[Any, ...] | None: ...
    def from_wire(self, wire: tuple[Any, ...]) -> object: ...


class Remote(Protocol):
    """What it takes of a daemon."""

    endpoint: str

    @property
    def home(self) -> str: ...


class AtHome:
    """The references of a payload to or from a daemon on another host."""

    def __init__(self, inner: Refs, daemon: Remote) -> None:
        self._inner = inner
        self._daemon = daemon

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As the inner one, by the daemon's own name."""
        wire = self._inner.to_wire(obj)
        return None if wire is None else self._renamed(wire, self._daemon.endpoint, home=True)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """As the inner one, by the name that is known here."""
        return self._inner.from_wire(self._renamed(tuple(wire), self._daemon.home, home=False))

    def _renamed(self, wire: tuple[Any, ...], old: str, *, home: bool) -> tuple[Any, ...]:
        at = _OTHERS_AT if wire and isinstance(wire[0], str) else _AGENT_AT
        if len(wire) <= at or not old or wire[at] != old:
            return wire
        new = self._daemon.home if home else self._daemon.endpoint
        return (*wire[:at], new, *wire[at + 1 :]) if new else wire
