"""A run: every row for every contestant, in turns, several times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks import child
from benchmarks.results import Results
from benchmarks.rows.row import Row
from benchmarks.system import machine, probe_ms

__all__ = ["Runner", "Turn", "run", "turns"]


QUICK_LIMIT_S = 60.0


class Runner(NamedTuple):
    """Who takes part: a contestant, under the name of the tables, in some interpreter."""

    label: str
    kind: str
    title: str
    python: str | None = None


class Turn(NamedTuple):
    """One measurement to make."""

    number: int
    """The pass, from 0."""
    row: Row
    runner: Runner


def turns(rows: Sequence[Row], runners: Sequence[Runner], passes: int) -> Iterator[Turn]:
    """All of them: A B, then B A, so that what drifts does not always favour the same."""
    for number in range(passes):
        for row in rows:
            if row.once and number > 0:
                continue
            some = [runner for runner in runners if runner.kind in row.contestants]
            for runner in some if number % 2 == 0 else reversed(some):
                yield Turn(number, row, runner)


def run(
    rows: Sequence[Row],
    runners: Sequence[Runner],
    *,
    passes: int,
    tier: str,
    revision: str,
    tell: Callable[[str], None],
) -> Results:
    """Measure; a row that fails is told and noted, and the others go on."""
    results = Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision,
        tier=tier,
        passes=passes,
        machine=machine(),
        contestants={runner.label: runner.title for runner in runners},
    )
    began = time.monotonic()
    with child.home() as folder:
        for turn in turns(rows, runners, passes):
            if turn.number == len(results.probes_ms):
                results.probes_ms.append(round(probe_ms(), 2))
            results_of_turn(turn, results, tier, folder, tell)
    results.seconds = round(time.monotonic() - began, 1)
    return results


def results_of_turn(
    turn: Turn, results: Results, tier: str, folder: str, tell: Callable[[str], None]
) -> None:
    """Make one measurement and note what it found."""
    row, runner = turn.row, turn.runner
    limit_s = row.long_limit_s if tier == "long" and row.long_limit_s else row.limit_s
    if tier == "quick":
        limit_s = min(limit_s, QUICK_LIMIT_S)
    began = time.monotonic()
    outcome = child.measure(
        {"row": row.name, "contestant": runner.kind, "tier": tier},
        limit_s=limit_s,
        folder=folder,
        python=runner.python,
    )
    names = tuple(metric.name for metric in row.metrics)
    results.row(row.name).add(runner.label, turn.number, outcome, names)
    if outcome.agentd:
        results.agentd[runner.label] = outcome.agentd
    if outcome.compiled and runner.label not in results.compiled:
        results.compiled.append(runner.label)
    text = outcome.error or outcome.missing or ""
    if outcome.left_running:
        text += f" ({outcome.left_running} processes were left running)"
    tell(
        f"pass {turn.number + 1}  {row.name:12s} {runner.title:12s} "
        f"{time.monotonic() - began:5.1f} s  {text}".rstrip()
    )
