"""What a row of the table is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

from benchmarks.contestants import Contestant
from benchmarks.goals import Goal

__all__ = ["Measure", "Metric", "NotAvailable", "Plan", "Row", "Values", "less", "more"]

T = TypeVar("T")

Values = dict[str, float]
"""One measurement: by the metric's name."""


class NotAvailable(Exception):
    """This cannot be measured yet; the message says until when."""


class Plan(NamedTuple):
    """How much work a measurement does."""

    tier: Literal["quick", "full", "long"] = "full"

    def of(self, quick: T, full: T, long: T | None = None) -> T:
        """The size for this tier; ``long`` is ``full`` where it does not differ."""
        if self.tier == "quick":
            return quick
        return long if self.tier == "long" and long is not None else full


class Metric(NamedTuple):
    """One line of the table."""

    name: str
    title: str
    unit: str
    upper: bool
    """Less is better."""
    digits: int = 0
    goals: tuple[Goal, ...] = ()
    peer: str = ""
    """The best peer's figure, see docs/benchmarks.md."""


def less(
    name: str,
    title: str,
    unit: str,
    digits: int = 0,
    goals: tuple[Goal, ...] = (),
    peer: str = "",
) -> Metric:
    """A metric of which less is better."""
    return Metric(name, title, unit, upper=True, digits=digits, goals=goals, peer=peer)


def more(
    name: str,
    title: str,
    unit: str,
    digits: int = 0,
    goals: tuple[Goal, ...] = (),
    peer: str = "",
) -> Metric:
    """A metric of which more is better."""
    return Metric(name, title, unit, upper=False, digits=digits, goals=goals, peer=peer)


Measure = Callable[[Contestant, Plan], Values]


class Row(NamedTuple):
    """One measurement, in a process of its own, and the metrics that it gives."""

    name: str
    what: str
    metrics: tuple[Metric, ...]
    measure: Measure
    contestants: tuple[str, ...] = ("agentd", "rpc")
    starts: bool = True
    """The contestant is started before, and stopped after."""
    limit_s: float = 60.0
    long_limit_s: float = 0.0
    """Of the long tier, if that differs."""
    once: bool = False
    """One pass is enough: it does not scatter, or takes very long."""
