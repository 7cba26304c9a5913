"""Results as a run leaves them, without a run."""

from collections.abc import Callable

import pytest

from benchmarks.child import Outcome
from benchmarks.results import Results
from benchmarks.rows import ROWS

MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "memory_gib": 4.0,
    "kernel": "6.1",
    "python": "3.11.7",
    "libzmq": "4.3.5",
    "pyzmq": "27.0",
}


@pytest.fixture
def results() -> Results:
    return Results(
        date="2026-01-02T03:04:05+00:00",
        revision="abc123",
        tier="full",
        passes=3,
        machine=MACHINE,
        contestants={"agentd": "agentd", "rpc": "floor"},
        probes_ms=[20.0, 25.0],
    )


@pytest.fixture
def add(results: Results) -> Callable[..., None]:
    """``add("call", "agentd", 0, p50_us=100)``: what one measurement of a row found."""

    def one(row: str, who: str, number: int, outcome: Outcome | None = None, **values) -> None:
        names = tuple(metric.name for metric in ROWS[row].metrics)
        results.row(row).add(who, number, outcome or Outcome(values), names)

    return one
