"""When a call is tried again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass

from agentd.client.about import IDEMPOTENT
from agentd.errors import (
    AgentCrashed,
    ConfigError,
    ConnectionLost,
    DaemonNotFound,
    Draining,
    Overloaded,
)

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Try a call again where that is safe.

    Safe is: the call provably did not start (``Overloaded``, ``Draining``, ``DaemonNotFound``, a
    connection that broke before anything was sent), or its method is marked ``@agentd.idempotent``
    (then also after ``AgentCrashed`` and ``ConnectionLost``). What the agent's own code raises is
    never retried.
    """

    times: int
    """Attempts after the first one."""
    first_s: float
    most_s: float
    factor: float
    jitter: bool

    @classmethod
    def fixed(cls, times: int = 3, delay: float = 1.0, *, jitter: bool = True) -> Retry:
        """``times`` more attempts, ``delay`` seconds apart."""
        return cls(_positive(times), delay, delay, 1.0, jitter)

    @classmethod
    def exponential(
        cls, times: int = 5, first: float = 0.1, most: float = 30.0, *, jitter: bool = True
    ) -> Retry:
        """``times`` more attempts, after ``first`` seconds, twice that, … up to ``most``."""
        return cls(_positive(times), first, most, 2.0, jitter)

    def delay(self, attempt: int) -> float:
        """Seconds before attempt number ``attempt`` (1 is the first repetition).

        Jitter is a factor from 0.5 to 1.5, so that callers who failed together come back apart.
        """
        delay = min(self.most_s, self.first_s * self.factor ** (attempt - 1))
        return delay * random.uniform(0.5, 1.5) if self.jitter else delay  # noqa: S311 - no secret

    def applies(self, error: BaseException, flags: int) -> bool:
        """Whether a call of a method with these flags may be tried again after the error."""
        if isinstance(error, (Overloaded, DaemonNotFound, Draining)):
            return True
        if isinstance(error, ConnectionLost) and error.facts.get("sent") is False:
            return True
        return bool(flags & IDEMPOTENT) and isinstance(error, (AgentCrashed, ConnectionLost))


def _positive(times: int) -> int:
    if type(times) is not int or times < 1:
        raise ConfigError(f"Retry: times is a number from 1 on, not {times!r}")
    return times
