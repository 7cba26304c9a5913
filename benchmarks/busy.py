"""A client that does one kind of work for a while, to be looked at from outside or inside."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.contestants import Agentd
from benchmarks.rows.calls import WINDOW, timed_calls

__all__ = ["WORK", "run"]


def _blocking(_one: Agentd, agent: Any, seconds: float) -> int:
    ends, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        for _ in range(100):
            agent.echo("hello")
        count += 100
    return count


def _pipelined(one: Agentd, agent: Any, seconds: float) -> int:
    return sum(1 for _ in one.call_many(timed_calls(agent, seconds), WINDOW))


def _aio(_one: Agentd, agent: Any, seconds: float) -> int:
    import agentd

    aio: Any = agentd.aio(agent)
    ends, count = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await aio.echo(count)
            count += 1

    async def callers() -> None:
        await asyncio.gather(*(caller() for _ in range(WINDOW)))

    asyncio.run(callers())
    return count


def _create(_one: Agentd, _agent: Any, seconds: float) -> int:
    import agentd
    from benchmarks.hosted import Echo

    ends, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        agents: list[Any] = [Echo(to_dist=True) for _ in range(100)]
        for agent in agents:
            agentd.handle(agent).wait(30)
        count += len(agents)
    return count


WORK: dict[str, Callable[[Agentd, Any, float], int]] = {
    "call": _blocking,
    "pipelined": _pipelined,
    "aio": _aio,
    "create": _create,
}
"""What can be profiled: by the names of the rows."""


def run(row: str, seconds: float, *, trace: bool = False) -> None:
    """Tell ``{"client", "worker", "daemon"}`` (process ids), wait for a line, work, tell counts.

    ``trace``: by cProfile, whose table follows.
    """
    import agentd

    one = Agentd()
    one.start()
    [agent] = one.create(1)
    WORK[row](one, agent, min(1.0, seconds))
    daemon = int(agentd.connect().info()["pid"])
    print(json.dumps({"client": os.getpid(), "worker": agent.pid(), "daemon": daemon}), flush=True)
    sys.stdin.readline()
    tracer = cProfile.Profile()
    if trace:
        tracer.enable()
    began = time.perf_counter()
    count = WORK[row](one, agent, seconds)
    took = time.perf_counter() - began
    tracer.disable()
    print(json.dumps({"calls": count, "seconds": took}), flush=True)
    if trace:
        pstats.Stats(tracer).sort_stats("tottime").print_stats(40)
    sys.stdin.readline()  # threads are looked at before they end
    one.stop()
