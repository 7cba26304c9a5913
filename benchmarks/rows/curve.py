"""Over the network, encrypted: what a call costs over CURVE TCP, beside ipc.

Clients over TCP reach the daemon alone, which relays. So ipc is measured twice: straight to the
worker, as usual, and relayed, which tells the cost of the network's way from that of its keys.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.rows.calls import WINDOW, latencies
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.served import START_S, served
from benchmarks.stats import percentile

__all__ = ["CURVE"]


def _curve(one: Contestant, plan: Plan) -> Values:
    import agentd

    with served() as daemon:
        name = agentd.connect(daemon.ipc).create("benchmarks.hosted:Echo", options={"name": "echo"})
        agentd.handle(name).wait(START_S)
        agents = {
            "ipc": agentd.connect(daemon.ipc).get("echo"),
            "relayed": agentd.connect(daemon.ipc, direct=False).get("echo"),
            "curve": agentd.connect(daemon.tcp).get("echo"),
        }
        p50, rates = {}, {}
        for way, agent in agents.items():
            latencies(one, agent, plan.of(50, 500))
            p50[way] = percentile(latencies(one, agent, plan.of(200, 3000)), 0.5) * 1e6
            rates[way] = _rate(one, agent, plan.of(500, 10_000))
    return {
        "ratio": rates["curve"] / rates["relayed"],
        "curve_per_s": rates["curve"],
        "curve_us": p50["curve"],
        "relayed_us": p50["relayed"],
        "ipc_us": p50["ipc"],
    }


def _rate(one: Contestant, agent: Any, count: int) -> float:
    began = time.perf_counter()
    for _ in one.call_many(((agent, "echo", ("hello",)) for _ in range(count)), WINDOW):
        pass
    return count / (time.perf_counter() - began)


CURVE = Row(
    "curve",
    "small calls over CURVE TCP, against ipc through the daemon",
    (
        more("ratio", "calls over CURVE TCP", "× ipc, relayed", 2, (at_least(0.5),)),
        more("curve_per_s", "of these, in flight 256", "/s"),
        less("curve_us", "blocking call over CURVE TCP, p50", "µs"),
        less("relayed_us", "the same over ipc, relayed", "µs"),
        less("ipc_us", "the same over ipc, to the worker", "µs"),
    ),
    _curve,
    contestants=("agentd",),
    starts=False,
    once=True,
)
