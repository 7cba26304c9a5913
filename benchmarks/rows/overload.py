"""More calls than an agent can do: how much of what it can do is done all the same."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.overload import NAME, Crowd, capacity
from benchmarks.rows.calls import check
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.served import START_S, served

__all__ = ["OVERLOAD"]

SETTINGS = "client_calls = 64\nagent_calls = 256\n"
WINDOW = 1_000
"""Calls that each client has in flight, if it is let."""


def _overload(_one: Contestant, plan: Plan) -> Values:
    import agentd

    with served(SETTINGS) as daemon:
        client = agentd.connect(daemon.ipc, direct=False)
        agent: Any = client.create("benchmarks.hosted:Busy", options={"name": NAME})
        agentd.handle(agent).wait(START_S)
        can = capacity(agent, plan.of(10, 200))
        clients = plan.of(2, 8, 16)
        crowd = Crowd(daemon.ipc, clients, plan.of(100, 1_500, 6_000), WINDOW)
        crowd.begin()
        found = crowd.end()
        counted = agent.count()
    check(not found.other, f"errors of no overload: {found.other}")
    check(found.sent == found.answered + found.refused, "a call was lost")
    check(counted == found.answered + plan.of(10, 200), "a call was done twice, or not at all")
    return {
        "goodput": found.goodput_per_s / can,
        "capacity_per_s": can,
        "refused": found.refused / found.answered,
    }


OVERLOAD = Row(
    "overload",
    "8 clients, 1,000 calls in flight each, on an agent that takes 10 ms a call (--long: 16)",
    (
        more("goodput", "calls done under overload", "of capacity", 2, (at_least(0.8),)),
        more("capacity_per_s", "  capacity: done without it", "/s"),
        less("refused", "  refused, for each that was done", "", 1),
    ),
    _overload,
    contestants=("agentd",),
    starts=False,
    limit_s=150,
    long_limit_s=600,
    once=True,
)
