"""The few statistics that are needed: percentiles, medians with their spread, paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Summary", "paired_ratios", "percentile", "summarize"]


class Summary(NamedTuple):
    """Several measurements of one thing."""

    median: float
    low: float
    high: float
    passes: int


def summarize(values: Iterable[float]) -> Summary | None:
    """The median and the whole range; ``None`` of nothing."""
    found = sorted(values)
    if not found:
        return None
    return Summary(statistics.median(found), found[0], found[-1], len(found))


def percentile(values: Sequence[float], q: float) -> float:
    """The least value that a share ``q`` (0 to 1) of all values do not exceed."""
    if not values:
        raise ValueError("no values, no percentile")
    found = sorted(values)
    # Nearest rank: a value that was measured, never one between two of them.
    rank = -int(-q * len(found) // 1)
    return found[min(len(found), max(1, rank)) - 1]


def paired_ratios(values: Sequence[float | None], others: Sequence[float | None]) -> list[float]:
    """Each pass's ratio, where both were measured.

    A slow minute of the machine slows both of a pass, so these spread less than the figures do.
    """
    return [a / b for a, b in zip(values, others, strict=False) if a is not None and b]
