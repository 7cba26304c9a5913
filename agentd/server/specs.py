"""Agents that are registered: those that may be made without sending code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Final

from agentd.errors import ConfigError

__all__ = ["GROUP", "Specs", "installed"]

GROUP: Final = "agentd.agents"
"""The entry points of installed packages that are agents."""


class Specs:
    """What is registered: a name for each ``package.module:Class``. Nothing is imported here."""

    def __init__(
        self,
        settings: Mapping[str, str],
        packages: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:
        """``settings`` win over ``packages``, which are asked when the first name is looked up."""
        self._settings = settings
        self._packages = packages

    @cached_property
    def _classes(self) -> dict[str, str]:
        return dict(self._packages()) | dict(self._settings)

    @property
    def names(self) -> list[str]:
        """All, in order."""
        return sorted(self._classes)

    def resolve(self, wanted: str) -> str:
        """The class, by its name here or as ``package.module:Class``; raises ``ConfigError``."""
        found = self._classes.get(wanted)
        if found is not None:
            return found
        if wanted in self._classes.values():
            return wanted
        from difflib import get_close_matches

        near = get_close_matches(wanted, [*self._classes, *self._classes.values()], n=1)
        hint = f"did you mean {near[0]}?" if near else f"registered are {_told(self.names)}"
        raise ConfigError(
            f"{wanted!r} is not registered at this daemon, and only registered agents can be made "
            f"without sending code; {hint}. Whoever runs the daemon registers one in [specs] of "
            f"its settings, or by an entry point of the group {GROUP}. Other classes are written "
            "package.module:Class"
        )


def installed() -> list[tuple[str, str]]:
    """What installed packages register. To look takes 20 ms, and few daemons ever need to know."""
    from importlib.metadata import entry_points

    return [(point.name, point.value) for point in entry_points(group=GROUP)]


def _told(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
