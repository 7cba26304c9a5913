"""Answers as text for people: pure functions, from facts to a string.

``styled`` is for a terminal and uses rich, which is imported only then. Without it the text is
plain columns, fit for ``grep`` and ``awk``. Nothing is ever cut off: an id that cannot be pasted is
of no use. All text that comes from agents is escaped.
"""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentd_cli.text import escape, is_plain, to_json

__all__ = [
    "agents",
    "audit",
    "is_terminal",
    "item",
    "log_line",
    "raw",
    "record",
    "result",
    "status",
    "table",
]

_GAP: Final = "  "
_UNLIMITED: Final = 1_000_000
_STATE_STYLES: Final = {
    "ready": "green",
    "starting": "yellow",
    "requested": "yellow",
    "restarting": "yellow",
    "stopping": "yellow",
    "ended": "red",
}


def is_terminal() -> bool:
    """Tell whether results go to a person's terminal."""
    return sys.stdout.isatty()


def status(info: Mapping[str, Any], *, styled: bool = False) -> str:
    """Render ``Client.info()``: the daemon's facts, its workers, its limits and what it counted."""
    facts = {key: value for key, value in info.items() if key not in _TABLES}
    workers = info.get("workers") or []
    rows = [[_cell(w.get(key)) for key in _WORKER_COLUMNS] for w in workers]
    return "\n\n".join(
        [
            record(facts, styled=styled),
            table(
                [c.upper() if c != "id" else "WORKER" for c in _WORKER_COLUMNS], rows, styled=styled
            )
            if rows
            else "No workers.",
            *(
                table([head, value], _amounts(info[key]), styled=styled)
                for key, head, value in _FIGURES
                if info.get(key)
            ),
        ]
    )


_TABLES: Final = ("workers", "limits", "counters")
_FIGURES: Final = (("limits", "LIMIT", "AT MOST"), ("counters", "COUNTED", "SO FAR"))


def _amounts(figures: Mapping[str, Any]) -> list[list[str]]:
    return [[_cell(name), amount(name, value)] for name, value in figures.items()]


def amount(name: str, value: Any) -> str:
    """Write a figure with the unit that is in its name: ``512 MiB``, ``2 s``, ``16,384``."""
    if type(value) not in (int, float):
        return _cell(value)
    if name.endswith("_bytes") and not name.startswith("refused_"):  # that is how often
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size:
                return f"{value / size:.4g} {unit}"
        return f"{value:,} B"
    return f"{value:g} s" if name.endswith("_s") else f"{value:,}"


_WORKER_COLUMNS: Final = ("id", "pid", "state", "agents", "restarts")


def agents(found: Sequence[Mapping[str, Any]], *, now: float, styled: bool = False) -> str:
    """Render ``Client.agents()``, one line each; ``now`` is for their age."""
    columns = ("name", "cls", "state", "lifetime", "worker", "pid", "restarts")
    rows = []
    for agent in found:
        created = agent.get("created_at")
        age = "-" if created is None else duration(now - created)
        rows.append([_cell(agent.get("id")), *(_cell(agent.get(c)) for c in columns), age])
    heads = ["ID", "NAME", "CLASS", "STATE", "LIFETIME", "WORKER", "PID", "RESTARTS", "AGE"]
    return table(heads, rows, styled=styled)


def record(facts: Mapping[str, Any], *, styled: bool = False) -> str:
    """Render the facts of one thing, a line each; what is not set is left out."""
    shown = dict(_fact(key, value) for key, value in facts.items() if value is not None)
    width = max(map(_width, shown), default=0)
    lines = [
        f"{key}{' ' * (width - _width(key))}{_GAP}{_hanging(text, width)}"
        for key, text in shown.items()
    ]
    if not styled:
        return "\n".join(lines)
    return _styled_record(shown, width)


def result(value: Any) -> str:
    """Render what a method returned: JSON for plain data, else as Python writes it."""
    return to_json(value) if is_plain(value) else escape(repr(value), keep="\n")


def raw(value: Any) -> str:
    """Render a text as the text that it is, anything else as ``result`` does."""
    return escape(value, keep="\n\t") if isinstance(value, str) else result(value)


def item(value: Any, *, as_json: bool = False) -> str:
    """Render an item of a stream on one line, otherwise as ``result`` does."""
    if as_json or is_plain(value):
        return to_json(value, indent=None)
    return escape(repr(value))


def log_line(line: Mapping[str, Any]) -> str:
    """Render one line that an agent printed: time of day, stream, text."""
    clock = time.strftime("%H:%M:%S", time.localtime(line["time"]))
    return f"{clock} {escape(line['stream'])} {escape(line['text'], keep=chr(9))}"


def audit(records: Sequence[Mapping[str, Any]], *, styled: bool = False) -> str:
    """Render the records of an audit log, a line each."""
    columns = ("n", "time", "who", "action", "decision", "target", "rule", "count")
    rows = [[_cell(record.get(column)) for column in columns] for record in records]
    return table([column.upper() for column in columns], rows, styled=styled)


def duration(seconds: float) -> str:
    """Write a time span in its two largest units, as people say it: ``3m 20s``."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, styled: bool = False) -> str:
    """Render rows of escaped text under their heads."""
    if styled:
        return _styled_table(heads, rows)
    widths = [max(map(_width, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        _GAP.join(
            text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in [heads, *rows]
    )


# -- cells -----------------------------------------------------------------------------------------


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else escape(str(value))


def _fact(key: str, value: Any) -> tuple[str, str]:
    """Name and text of one fact; a time or a span says by itself what it is."""
    name = escape(key)
    if key.endswith("_at") and isinstance(value, (int, float)):
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        return name.removesuffix("_at"), clock
    if key.endswith("_s") and isinstance(value, (int, float)):
        return name.removesuffix("_s"), duration(value)
    return name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return escape(value, keep="\n")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(f"{escape(str(k))}{_suffix(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return (
            ", ".join(_cell(v) if not isinstance(v, Mapping) else _inline(v) for v in value) or "-"
        )
    return _cell(value)


def _suffix(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f" = {_inline(value)}"


def _inline(value: Any) -> str:
    return escape(value) if isinstance(value, str) else to_json(value, indent=None)


def _hanging(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width + _GAP)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


# -- with rich -------------------------------------------------------------------------------------


def _styled_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for head in heads:
        made.add_column(head, no_wrap=True)
    for row in rows:
        # Text, not str: what agents are called is no markup.
        made.add_row(*(Text(cell, style=_STATE_STYLES.get(cell.lower(), "")) for cell in row))
    return _printed(made)


def _styled_record(shown: Mapping[str, str], width: int) -> str:
    from rich.text import Text

    made = Text()
    for index, (key, text) in enumerate(shown.items()):
        made.append("\n" if index else "")
        made.append(key, style="bold")
        made.append(f"{' ' * (width - _width(key))}{_GAP}")
        made.append(_hanging(text, width), style=_STATE_STYLES.get(text.lower(), ""))
    return _printed(made)


def _printed(thing: Any) -> str:
    import io

    from rich.console import Console

    out = io.StringIO()
    # As wide as it needs: a terminal wraps a long line, but rich would cut it.
    console = Console(file=out, force_terminal=True, highlight=False, width=_UNLIMITED)
    console.width = max(1, console.measure(thing).maximum)
    console.print(thing)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n"))
