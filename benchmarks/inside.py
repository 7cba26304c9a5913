"""What runs inside of the processes that ``benchmarks.child`` starts."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any, Literal

from benchmarks import contestants
from benchmarks.rows import ROWS
from benchmarks.rows.row import NotAvailable, Plan

__all__ = ["main"]


def main(kind: str, job: str) -> None:
    """Do the job, a JSON object."""
    jobs: dict[str, Callable[..., None]] = {
        "measure": _measure,
        "client": _client,
        "crowd": _crowd,
        "busy": _busy,
        "overload": _overload,
        "harm": _harm,
        "burn": _burn,
        "compute": _compute,
    }
    jobs[kind](**json.loads(job))


def _measure(row: str, contestant: str, tier: Literal["quick", "full", "long"]) -> None:
    import agentd
    from agentd.protocol import envelope

    found: dict[str, Any] = {
        "values": {},
        "agentd": os.path.dirname(agentd.__file__),  # noqa: PTH120
        "compiled": not str(envelope.__file__).endswith(".py"),
    }
    try:
        found["values"] = _values(row, contestant, Plan(tier))
    except NotAvailable as reason:
        found["missing"] = str(reason)
    except Exception as error:  # noqa: BLE001 - it is this row's result, the others go on
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found), flush=True)


def _values(name: str, who: str, plan: Plan) -> dict[str, float]:
    row, one = ROWS[name], contestants.contestant(who)
    if not row.starts:
        return row.measure(one, plan)
    one.start()
    try:
        return row.measure(one, plan)
    finally:
        one.stop()


def _client(contestant: str, address: list[Any], seconds: float) -> None:
    from benchmarks.rows import calls

    calls.client(contestants.contestant(contestant), address, seconds)


def _crowd(addresses: list[list[Any]], count: int) -> None:
    from benchmarks.crowd import crowd

    crowd(addresses, count)


def _busy(row: str, seconds: float, *, trace: bool = False) -> None:
    from benchmarks import busy

    busy.run(row, seconds, trace=trace)


def _overload(endpoint: str, calls: int, window: int) -> None:
    from benchmarks import overload

    overload.client(endpoint, calls, window)


def _harm(kind: str, target: dict[str, Any]) -> None:
    from benchmarks.hostile import peer

    peer.harm(kind, target)


def _compute(loops: int) -> None:
    from benchmarks.rows import parallel

    parallel.compute(loops)


def _burn(share: float) -> None:
    from benchmarks.hostile import peer

    peer.burn(share)
