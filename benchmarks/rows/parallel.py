"""Many agents at once: calls that wait, and calls that compute."""

from __future__ import annotations

import time

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


def _cpu(one: Contestant, plan: Plan) -> Values:
    agents = one.create(4)
    loops = _loops(plan.of(0.05, 0.5))
    list(one.call_many([(agent, "burn", (loops // 10,)) for agent in agents], 4))

    def clocked(some: list[object]) -> float:
        began = time.perf_counter()
        answers = list(one.call_many([(agent, "burn", (loops,)) for agent in some], 4))
        check(answers == answers[:1] * len(some), "computations")
        return time.perf_counter() - began

    before, four, after = clocked(agents[:1]), clocked(agents), clocked(agents[1:2])
    # The machine's speed drifts: what one takes is measured on both sides.
    return {"speedup": 4 * (before + after) / 2 / four}


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
    ),
    _cpu,
    contestants=("agentd",),
)
