"""Many agents at once: calls that wait, and calls that compute."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Self

from benchmarks.child import command
from benchmarks.contestants import Contestant
from benchmarks.goals import at_least, at_most
from benchmarks.hosted import burn
from benchmarks.rows.calls import check
from benchmarks.rows.row import Plan, Row, Values, less, more

__all__ = ["CPU", "NAPS"]

NAP_S = 0.2


def _naps(one: Contestant, plan: Plan) -> Values:
    agents, each = plan.of(20, 100), plan.of(5, 10)
    handles = one.create(agents, max_concurrency=each)
    list(one.call_many([(agent, "nap", (0.0,)) for agent in handles], agents))
    calls = [(handles[i % agents], "nap", (NAP_S,)) for i in range(agents * each)]
    began = time.perf_counter()
    answers = list(one.call_many(calls, len(calls)))
    wall = time.perf_counter() - began
    check(answers == [NAP_S] * len(calls), "naps")
    return {"wall_s": wall}


NAPS = Row(
    "naps",
    "1,000 calls that sleep 0.2 s (async def) over 100 agents, all at once",
    (
        less(
            "wall_s",
            "1,000 calls that sleep 0.2 s",
            "s",
            3,
            (at_most(0.26),),
            "xoscar 0.33",
        ),
    ),
    _naps,
    contestants=("agentd",),
)


def _loops(seconds: float) -> int:
    """How often ``burn`` goes round in that time, about."""
    began = time.perf_counter()
    burn(100_000)
    return int(seconds / (time.perf_counter() - began) * 100_000)


class Computers:
    """Plain processes, one a core, which compute the same as an agent does."""

    def __init__(self, loops: int) -> None:
        self._processes = [
            subprocess.Popen(
                command("compute", {"loops": loops}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in os.sched_getaffinity(0)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            assert process.stdout is not None
            check(process.stdout.readline() == "READY\n", "a plain process did not start")
        return self

    def compute(self, times: int) -> list[int]:
        """So many times in all; by as many processes as that needs."""
        asked = []
        for number in range(times):
            process = self._processes[number % len(self._processes)]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            asked.append(process.stdout)
        return [int(stdout.readline()) for stdout in asked]

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()


def compute(loops: int) -> None:
    """One of those processes: says that it is ready, and computes once for each line."""
    burn(loops // 10)
    print("READY", flush=True)
    for _ in sys.stdin:
        print(burn(loops), flush=True)


def speedup(work: Callable[[int], list[int]]) -> float:
    """Of four computations at once, against one after the other."""

    def clocked(times: int) -> float:
        began = time.perf_counter()
        answers = work(times)
        check(answers == answers[:1] * times, "computations")
        return time.perf_counter() - began

    # The machine's speed drifts: what one takes is measured on both sides.
    before, four, after = clocked(1), clocked(4), clocked(1)
    return 4 * (before + after) / 2 / four


def _cpu(one: Contestant, plan: Plan) -> Values:
    agents = one.create(4)
    loops = _loops(plan.of(0.05, 0.5))
    list(one.call_many([(agent, "burn", (loops // 10,)) for agent in agents], 4))

    def hosted(times: int) -> list[int]:
        return list(one.call_many([(agent, "burn", (loops,)) for agent in agents[:times]], 4))

    with Computers(loops) as computers:
        found = {"speedup": speedup(hosted), "plain": speedup(computers.compute)}
    return {**found, "of_plain": found["speedup"] / found["plain"]}


CPU = Row(
    "cpu",
    "four agents that compute for 0.5 s each, against one after the other",
    (
        more(
            "speedup",
            "speed-up of four CPU-bound agents",
            "×",
            2,
            (at_least(1.9, "2 cores"),),
            "2.0",
        ),
        more("plain", "the same by plain processes, one a core", "×", 2),
        more("of_plain", "agents against plain processes", "×", 2),
    ),
    _cpu,
    contestants=("agentd",),
)
