"""A client that does one kind of work for a while, to be looked at from outside or inside."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from benchmarks.contestants import Agentd
from benchmarks.rows.calls import WINDOW, timed_calls
from benchmarks.rows.payload import KIB, MIB

__all__ = ["WORK", "run"]

Work: TypeAlias = Callable[[Agentd, Any, float], int]
"""Do it for so many seconds, to that agent; how often it was done."""


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


def _echoes(value: Callable[[], Any]) -> Work:
    def work(_one: Agentd, agent: Any, seconds: float) -> int:
        sent, ends, count = value(), time.perf_counter() + seconds, 0
        while time.perf_counter() < ends:
            agent.echo(sent)
            count += 1
        return count

    return work


def _array() -> Any:
    import numpy as np

    return np.random.default_rng(7).random(64 * MIB // 8)


def _naps(one: Agentd, _agent: Any, seconds: float) -> int:
    agents = one.create(100, max_concurrency=10)
    calls = [(agents[i % 100], "nap", (0.2,)) for i in range(1000)]
    ends, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        count += len(list(one.call_many(calls, len(calls))))
    one.delete(agents)
    return count


def _delete(one: Agentd, _agent: Any, seconds: float) -> int:
    ends, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        one.delete(one.create(10))
        count += 10
    return count


WORK: dict[str, Work] = {
    "call": _blocking,
    "pipelined": _pipelined,
    "aio": _aio,
    "create": _create,
    "kib": _echoes(lambda: random.Random(7).randbytes(KIB)),  # noqa: S311 - only incompressible
    "mib": _echoes(lambda: random.Random(7).randbytes(MIB)),  # noqa: S311
    "array": _echoes(_array),
    "naps": _naps,
    "delete": _delete,
}
"""What can be profiled: by the names of the rows, or of a figure of theirs."""


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
