"""What a figure should be, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.stats import Summary, paired_ratios, summarize

__all__ = ["FLOOR", "Figures", "Goal", "Verdict", "at_least", "at_most", "judge"]

Figures = Mapping[str, Sequence[float | None]]
"""One metric: by contestant, one value a pass; ``None`` where it could not be measured."""

FLOOR = "rpc"
"""The contestant whom relative goals refer to."""


class Goal(NamedTuple):
    """At most or at least so much; with ``of`` so many times what that contestant has."""

    limit: float
    upper: bool
    why: str = ""
    of: str = ""

    def __str__(self) -> str:
        sign = "≤" if self.upper else "≥"
        whose = " × floor" if self.of else ""
        return f"{sign} {self.limit:,.6g}{whose}" + (f" ({self.why})" if self.why else "")


def at_most(limit: float, why: str = "", *, of: str = "") -> Goal:
    """The figure is to be that or less."""
    return Goal(limit, upper=True, why=why, of=of)


def at_least(limit: float, why: str = "", *, of: str = "") -> Goal:
    """The figure is to be that or more."""
    return Goal(limit, upper=False, why=why, of=of)


class Verdict(NamedTuple):
    """Whether a goal is met, and by what figure that was decided."""

    goal: Goal
    met: bool | None
    """``None``: there was nothing to judge."""
    seen: Summary | None


def judge(goal: Goal, figures: Figures, contestant: str) -> Verdict:
    """Compare the median: of the figures, or of the ratios of each pass."""
    mine = figures.get(contestant, ())
    if goal.of:
        seen = summarize(paired_ratios(mine, figures.get(goal.of, ())))
    else:
        seen = summarize(value for value in mine if value is not None)
    if seen is None:
        return Verdict(goal, None, None)
    met = seen.median <= goal.limit if goal.upper else seen.median >= goal.limit
    return Verdict(goal, met, seen)
