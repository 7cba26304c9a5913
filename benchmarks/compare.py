"""Two revisions side by side: what changed, and what is only the weather."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.results import Results
from benchmarks.rows import ROWS
from benchmarks.rows.row import Metric
from benchmarks.stats import Summary, paired_ratios, summarize
from benchmarks.table import span

__all__ = ["BASE", "HEAD", "THIS", "Change", "change", "comparison"]

SURE = 5
"""Passes: by chance they agree in one of 16 metrics."""
THIS, BASE = "agentd", "base"
HEAD = ("what", "", "base", "this", "this / base", "change")


class Change(NamedTuple):
    """How one metric changed."""

    ratio: Summary | None
    word: str


def change(metric: Metric, base: list[float | None], this: list[float | None]) -> Change:
    """``better`` or ``worse`` only where every single pass says so.

    Passes that differ by chance alone all fall on one side once in ``2 ** (passes - 1)`` times:
    with fewer than ``SURE`` of them there is a question mark behind the word.
    """
    ratio = summarize(paired_ratios(this, base))
    if ratio is None:
        return Change(None, "-")
    if ratio.low > 1.0 or ratio.high < 1.0:
        more = ratio.low > 1.0
        word = "worse" if more == metric.upper else "better"
        return Change(ratio, word if ratio.passes >= SURE else f"{word}?")
    return Change(ratio, "same" if ratio.low == ratio.high else "within noise")


def comparison(results: Results) -> Iterator[tuple[str, ...]]:
    """A line a metric: see ``HEAD``."""
    for name, row in ROWS.items():
        found = results.rows.get(name)
        for metric in row.metrics if found is not None else ():
            assert found is not None
            figures = found.figures.get(metric.name, {})
            base, this = figures.get(BASE, []), figures.get(THIS, [])
            ratios: list[float] = paired_ratios(this, base)
            yield (
                metric.title,
                metric.unit,
                span(base, metric.digits),
                span(this, metric.digits),
                span(ratios, 2),
                change(metric, base, this).word,
            )
