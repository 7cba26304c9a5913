"""All rows, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from benchmarks.rows.agents import CREATE, HEAVY, MEMORY, TEN
from benchmarks.rows.calls import AIO, BLOCKING, CLIENTS, PIPELINED
from benchmarks.rows.cold import COLD
from benchmarks.rows.curve import CURVE
from benchmarks.rows.hostile import HOSTILE
from benchmarks.rows.overload import OVERLOAD
from benchmarks.rows.parallel import CPU, NAPS
from benchmarks.rows.payload import ARRAY, LARGE, SMALL
from benchmarks.rows.row import Row
from benchmarks.rows.scale import AGENTS, CONNECTIONS, IDLE, PROCESSES

__all__ = ["ROWS", "UnknownRow", "choose"]

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        BLOCKING,
        PIPELINED,
        CLIENTS,
        AIO,
        CREATE,
        MEMORY,
        SMALL,
        LARGE,
        ARRAY,
        COLD,
        NAPS,
        CPU,
        HEAVY,
        TEN,
        AGENTS,
        CONNECTIONS,
        PROCESSES,
        IDLE,
        CURVE,
        OVERLOAD,
        *HOSTILE,
    )
}


class UnknownRow(ValueError):
    """There is no row of that name; the message names the nearest."""


def choose(names: Sequence[str]) -> list[Row]:
    """The rows of these names, in the order of the table; all of them for none.

    ``hostile`` stands for ``hostile-ipc`` and all others of that beginning.
    """
    chosen = set()
    for name in names:
        found = {row for row in ROWS if row == name or row.startswith(f"{name}-")}
        chosen |= found
        if not found:
            near = get_close_matches(name, ROWS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ROWS)}"
            raise UnknownRow(f"there is no row {name!r}; {hint}")
    return [row for row in ROWS.values() if not names or row.name in chosen]
