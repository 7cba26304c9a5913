"""Whom a proxy means: what a reference to an agent consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentd.ids import show

__all__ = ["Target"]


@dataclass(slots=True, eq=False)
class Target:
    """An agent: its id, its daemon, and what its class offers."""

    agent: bytes
    endpoint: str
    cls: str
    name: str | None = None
    about: dict[str, Any] | None = None
    """See ``agentd.client.about``; ``None`` until the agent's worker told."""
    local: type | None = None
    """The class itself, where this process has it."""
    direct: bool = True
    """Calls go straight to the worker where it can be reached; False: always through the daemon."""
    timeout: float | None = None
    """Seconds a call may take, if it does not say so itself."""
    retry: Any = None
    """A ``Retry`` for calls that do not say so themselves."""
    methods: Any = field(default=None, repr=False)
    """Those of the class, with their flags, as they were last looked up."""
    session: Any = field(default=None, repr=False)
    """This process's dealings with the daemon, once somebody needed them."""
    creation: Any = field(default=None, repr=False)
    """The open request that makes it; only in the process that made it."""

    def wire(self) -> tuple[Any, ...]:
        """The reference as plain data; see ``agentd.client.references``."""
        about = self.about
        if about is None and self.local is not None:
            from agentd.client.about import about_class

            about = about_class(self.local)
        retry = None if self.retry is None else _plain(self.retry)
        wire = (self.agent, self.endpoint, self.cls, self.name, about, self.timeout, retry)
        return wire if self.direct else (*wire, False)

    @classmethod
    def from_wire(cls, wire: tuple[Any, ...]) -> Target:
        """Back; raises ``ValueError`` or ``TypeError`` for what is no reference."""
        agent, endpoint, label, name, about, timeout, retry, *direct = wire
        if not isinstance(agent, bytes) or len(agent) != 16 or not isinstance(endpoint, str):
            raise ValueError("not a reference")
        aim = cls(agent, endpoint, str(label), name, about, timeout=timeout)
        aim.direct = all(direct)
        if retry is not None:
            from agentd.client.retry import Retry

            aim.retry = Retry(*retry)
        return aim

    @property
    def label(self) -> str:
        """How a person recognises it."""
        return self.name or show(self.agent)[:8]


def _plain(retry: Any) -> tuple[Any, ...]:
    return (retry.times, retry.first_s, retry.most_s, retry.factor, retry.jitter)
