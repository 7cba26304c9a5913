"""A client that does one kind of work for a while, to be looked at from outside or inside."""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from benchmarks.contestants import Agentd
from benchmarks.crowd import Processes
from benchmarks.rows.calls import WINDOW, Clients, timed_calls
from benchmarks.rows.payload import KIB, MIB
from benchmarks.system import usage

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


def _cpu(one: Agentd, _agent: Any, seconds: float) -> int:
    agents = one.create(4)
    calls = [(agent, "burn", (1_000_000,)) for agent in agents]
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
    "clients": _pipelined,
    "cpu": _cpu,
    "processes": _blocking,
}
"""What can be profiled: by the names of the rows, or of a figure of theirs."""
ON_ALL_WORKERS = ("clients", "cpu", "processes")


@contextlib.contextmanager
def _company(row: str, one: Agentd, seconds: float) -> Iterator[Clients | Processes | None]:
    """The other client processes of that row."""
    if row == "clients":
        with Clients(one, one.spread(3), seconds) as others:
            yield others
    elif row == "processes":
        with Processes(one.spread(8), 1000) as others:
            yield others
    else:
        yield None


def _pids(row: str, agent: Any) -> dict[str, int]:
    import agentd

    info, worker = agentd.connect().info(), agent.pid()
    pids = {"client": os.getpid(), "worker": worker}
    if row in ON_ALL_WORKERS:
        others = (each["pid"] for each in info["workers"] if each["pid"] != worker)
        pids |= {f"worker {number}": pid for number, pid in enumerate(others, 2)}
    return {**pids, "daemon": int(info["pid"])}


def run(row: str, seconds: float, *, trace: bool = False) -> None:
    """Tell ``{"client", "worker", "daemon"}`` (process ids), wait for a line, work, tell counts.

    Of its own calls and of all, and how many cores other client processes used meanwhile.
    ``trace``: by cProfile, whose table follows.
    """
    one = Agentd()
    one.start()
    [agent] = one.create(1)
    WORK[row](one, agent, min(1.0, seconds))
    with _company(row, one, seconds) as company:
        print(json.dumps(_pids(row, agent)), flush=True)
        sys.stdin.readline()
        tracer = cProfile.Profile()
        if trace:
            tracer.enable()
        others = [] if company is None else company.pids
        before, began = usage(others), time.perf_counter()
        if isinstance(company, Clients):
            company.go()
        count = WORK[row](one, agent, seconds)
        took = time.perf_counter() - began
        beside = usage(others).since(before).cpu_s / took
        tracer.disable()
        theirs = company.per_s() * seconds if isinstance(company, Clients) else 0
        told = {"own": count, "calls": count + int(theirs), "seconds": took, "beside": beside}
        print(json.dumps(told), flush=True)
        if trace:
            pstats.Stats(tracer).sort_stats("tottime").print_stats(40)
        sys.stdin.readline()  # threads are looked at before they end
    one.stop()
