"""The results as lines of text: one a metric, with its goals beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.goals import FLOOR, Verdict, judge
from benchmarks.results import Results, RowResults
from benchmarks.rows import ROWS
from benchmarks.rows.row import Metric
from benchmarks.stats import paired_ratios, summarize

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["HEAD", "Line", "lines", "markdown", "met", "number", "rich_table", "span"]

HEAD = ("what", "", "agentd", "floor", "ratio", "best peer", "goal", "met")
WHO = "agentd"
_MARKS = {True: "yes", False: "NO", None: "-"}


class Line(NamedTuple):
    """One line of the table."""

    what: str
    unit: str
    mine: str
    floor: str
    ratio: str
    peer: str
    goal: str
    met: str


def number(value: float, digits: int) -> str:
    """As people read it: 16,352 and 0.45."""
    return f"{value:,.{digits}f}"


def span(values: list[float] | list[float | None], digits: int) -> str:
    """The median and, of several passes, the range; a dash for nothing."""
    found = summarize(value for value in values if value is not None)
    if found is None:
        return "-"
    middle = number(found.median, digits)
    if found.passes == 1:
        return middle
    return f"{middle} ({number(found.low, digits)}..{number(found.high, digits)})"


def lines(results: Results) -> Iterator[Line]:
    """All metrics of the rows that were run, in the order of the table."""
    for name, row in ROWS.items():
        found = results.rows.get(name)
        if found is not None:
            for metric in row.metrics:
                yield _line(metric, found)


def verdicts(metric: Metric, found: RowResults) -> list[Verdict]:
    """Each goal of the metric, and whether it is met."""
    figures = found.figures.get(metric.name, {})
    return [judge(goal, figures, WHO) for goal in metric.goals]


def _line(metric: Metric, found: RowResults) -> Line:
    figures = found.figures.get(metric.name, {})
    mine, floor = figures.get(WHO, []), figures.get(FLOOR, [])
    judged = verdicts(metric, found)
    broker = figures.get("broker", [])
    floors = span(floor, metric.digits)
    if any(value is not None for value in broker):
        floors += f"; broker {span(broker, metric.digits)}"
    shown = span(mine, metric.digits)
    if shown == "-" and found.missing:
        shown = found.missing
    elif shown == "-" and found.errors:
        shown = "failed"
    return Line(
        metric.title,
        metric.unit,
        shown,
        floors,
        span(paired_ratios(mine, floor), 2),
        metric.peer or "-",
        "; ".join(str(verdict.goal) for verdict in judged) or "-",
        "; ".join(_MARKS[verdict.met] for verdict in judged) or "-",
    )


def met(results: Results) -> tuple[int, int]:
    """How many goals are met, of how many that could be judged."""
    judged = [
        verdict.met
        for name, found in results.rows.items()
        for metric in ROWS[name].metrics
        for verdict in verdicts(metric, found)
        if verdict.met is not None
    ]
    return sum(judged), len(judged)


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (head, tuple("---" for _ in head), *rows)
    )


def rich_table(head: tuple[str, ...], rows: list[tuple[str, ...]], title: str) -> Table:
    """A table for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < 2 else "right", overflow="fold")
    for row in rows:
        wrong = any("NO" in cell or cell == "failed" for cell in row)
        table.add_row(*row, style="red" if wrong else "")
    return table
