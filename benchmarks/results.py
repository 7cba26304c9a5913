"""What a run found, and the file that keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.child import Outcome

__all__ = ["Results", "RowResults"]

FORMAT = 1


@dataclass
class RowResults:
    """One row: its metrics, by contestant, one value a pass (``None``: not measured in that)."""

    figures: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    missing: str = ""
    errors: list[str] = field(default_factory=list)
    left_running: int = 0

    def add(self, who: str, number: int, outcome: Outcome, metrics: tuple[str, ...]) -> None:
        """What became of it in that pass (from 0)."""
        for metric in metrics:
            series = self.figures.setdefault(metric, {}).setdefault(who, [])
            series += [None] * (number + 1 - len(series))
            series[number] = outcome.values.get(metric)
        self.missing = self.missing or outcome.missing
        self.left_running += outcome.left_running
        if outcome.error:
            self.errors.append(f"{who}, pass {number + 1}: {outcome.error}")


@dataclass
class Results:
    """A whole run."""

    date: str
    revision: str
    tier: str
    passes: int
    machine: dict[str, Any]
    contestants: dict[str, str]
    """Who was measured, and what it is called in tables."""
    rows: dict[str, RowResults] = field(default_factory=dict)
    probes_ms: list[float] = field(default_factory=list)
    """A fixed piece of Python before each pass: tells a disturbed run."""
    agentd: dict[str, str] = field(default_factory=dict)
    """Where each contestant's package was imported from; not written to the file."""
    compiled: list[str] = field(default_factory=list)
    """Whose hot modules are machine code."""
    seconds: float = 0.0

    @property
    def what(self) -> str:
        """What was measured."""
        return f"{self.revision} (compiled)" if self.compiled else self.revision

    def row(self, name: str) -> RowResults:
        """That row's, made if there is none."""
        return self.rows.setdefault(name, RowResults())

    def write(self, file: Path) -> None:
        """As JSON; folders are made."""
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = asdict(self)
        del kept["agentd"]
        file.write_text(json.dumps({"format": FORMAT, **kept}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Results:
        """What ``write`` wrote; raises ``ValueError`` for a file of another format."""
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept.pop("format", None) != FORMAT:
            raise ValueError(f"{file} is not a result of format {FORMAT}")
        rows = {name: RowResults(**row) for name, row in kept.pop("rows").items()}
        return cls(rows=rows, **kept)
