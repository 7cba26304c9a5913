"""Over the network, encrypted: what a call costs over CURVE TCP, beside ipc.

Clients over TCP reach the daemon alone, which relays, or the workers too, where these have ports.
So both are measured twice, straight to the worker and relayed: that tells the cost of the network's
way from that of its keys.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.rows.calls import WINDOW, latencies
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.served import START_S, Served, served
from benchmarks.stats import percentile

__all__ = ["CURVE"]


PORTS = "22000-22999"
"""For workers: below those that the system gives away."""


def _curve(one: Contestant, plan: Plan) -> Values:
    import agentd

    p50, rates = {}, {}

    def measure(way: str, client: agentd.Client) -> None:
        agent = client.get("echo")
        latencies(one, agent, plan.of(50, 500))
        p50[way] = percentile(latencies(one, agent, plan.of(200, 3000)), 0.5) * 1e6
        rates[way] = _rate(one, agent, plan.of(500, 10_000))

    with _echo() as daemon:
        measure("ipc", agentd.connect(daemon.ipc))
        measure("relayed", agentd.connect(daemon.ipc, direct=False))
        measure("curve", agentd.connect(daemon.tcp))
    with _echo(f'worker_ports = "{PORTS}"') as daemon:
        measure("direct", agentd.connect(daemon.tcp))
    return {
        "ratio": rates["curve"] / rates["relayed"],
        "curve_per_s": rates["curve"],
        "direct_per_s": rates["direct"],
        "curve_us": p50["curve"],
        "direct_us": p50["direct"],
        "relayed_us": p50["relayed"],
        "ipc_us": p50["ipc"],
    }


@contextlib.contextmanager
def _echo(settings: str = "") -> Iterator[Served]:
    """A daemon that hosts one agent, by name."""
    import agentd

    with served(settings) as daemon:
        agent = agentd.connect(daemon.ipc).create(
            "benchmarks.hosted:Echo", options={"name": "echo"}
        )
        agentd.handle(agent).wait(START_S)
        yield daemon


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
        more("direct_per_s", "the same, straight to the worker", "/s"),
        less("curve_us", "blocking call over CURVE TCP, p50", "µs"),
        less("direct_us", "the same, straight to the worker", "µs"),
        less("relayed_us", "the same over ipc, relayed", "µs"),
        less("ipc_us", "the same over ipc, to the worker", "µs"),
    ),
    _curve,
    contestants=("agentd",),
    starts=False,
    once=True,
)
