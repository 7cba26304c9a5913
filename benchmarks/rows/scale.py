"""Many agents, many clients, and nothing at all to do."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks import crowd
from benchmarks.contestants import Contestant
from benchmarks.goals import at_most
from benchmarks.rows.calls import check, latencies
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.served import START_S, served
from benchmarks.stats import percentile
from benchmarks.system import usage

__all__ = ["AGENTS", "CONNECTIONS", "IDLE", "PROCESSES"]

FEW = 10
CHUNK = 500


def p50_us(one: Contestant, agent: Any, plan: Plan) -> float:
    """Of a blocking call, now."""
    latencies(one, agent, plan.of(20, 300))
    return percentile(latencies(one, agent, plan.of(100, 3000)), 0.5) * 1e6


def _median_ms(actions: list[Any]) -> float:
    took = []
    for action in actions:
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return percentile(took, 0.5) * 1e3


def _agents(one: Contestant, plan: Plan) -> Values:
    count = plan.of(200, 10_000, 100_000)
    # More than a daemon hosts unless it is told to: an embedded one is not.
    with served(f"max_agents = {2 * count + 1000}\n") as daemon:
        os.environ["AGENTD_ENDPOINT"] = daemon.ipc
        return _with_many(one, plan, count)


def _with_many(one: Contestant, plan: Plan, count: int) -> Values:
    import agentd

    daemon = agentd.connect()
    samples = plan.of(5, 50)
    agents = one.create(FEW + samples)

    def find_and_delete() -> tuple[float, float]:
        some = [agentd.handle(agents.pop()) for _ in range(samples)]
        ids = [handle.id for handle in some]
        return (
            _median_ms([lambda i=i: daemon.inspect(i) for i in ids]),
            _median_ms([handle.delete for handle in some]),
        )

    find_few, delete_few = find_and_delete()
    few = p50_us(one, agents[0], plan)
    began = time.perf_counter()
    while len(agents) < count + samples:
        agents += one.create(min(CHUNK, count + samples - len(agents)))
    made_s = time.perf_counter() - began
    find_many, delete_many = find_and_delete()
    began = time.perf_counter()
    listed = daemon.agents()
    list_s = time.perf_counter() - began
    check(len(listed) == len(agents), "the list of agents")
    middle = agents[len(agents) // 2]
    few_again, many = p50_us(one, agents[0], plan), p50_us(one, middle, plan)
    check(one.call(middle, "add", 1) == 1, "one of many agents")
    return {
        "agents": count,
        "per_s": count / made_s,
        "p50_ratio": (few_again + many) / 2 / few,
        "list_us_each": list_s / len(listed) * 1e6,
        "find_ratio": find_many / find_few,
        "delete_ratio": delete_many / delete_few,
        "find_ms": find_many,
        "delete_ms": delete_many,
    }


AGENTS = Row(
    "scale",
    "many agents in one daemon: 10,000; 100,000 with --long",
    (
        more("agents", "agents in one daemon", ""),
        more("per_s", "made, with so many", "/s"),
        less(
            "p50_ratio",
            "p50 of a call, against 10 agents",
            "×",
            2,
            (at_most(1.2),),
            "ray 42 MiB an agent",
        ),
        less("list_us_each", "list them all, for each", "µs", 1),
        less("find_ms", "find one", "ms", 3),
        less("find_ratio", "find one, against 10 agents", "×", 2, (at_most(1.5, "stays fast"),)),
        less("delete_ms", "delete one", "ms", 3),
        less(
            "delete_ratio",
            "delete one, against 10 agents",
            "×",
            2,
            (at_most(1.5, "stays fast"),),
        ),
    ),
    _agents,
    contestants=("agentd",),
    limit_s=120,
    long_limit_s=900,
    once=True,
)


def _connections(one: Contestant, plan: Plan) -> Values:
    import agentd

    count = plan.of(20, 1000, 5000)
    # An embedded one has another door, for one client; and few want more than the usual limit.
    with served(f"max_connections = {2 * count + 100}\n") as daemon:
        agent: Any = agentd.connect(daemon.ipc).create("benchmarks.hosted:Echo")
        agentd.handle(agent).wait(START_S)
        alone = p50_us(one, agent, plan)
        with crowd.Connections(daemon.ipc, count) as connections:
            with_them = p50_us(one, agent, plan)
            ping_s = connections.ping_all()
    return {
        "connections": count,
        "per_s": count / connections.met_s,
        "pings_per_s": count / ping_s,
        "p50_ratio": with_them / alone,
    }


CONNECTIONS = Row(
    "connections",
    "many connections to one daemon, each a session of its own: 1,000; 5,000 with --long",
    (
        more("connections", "connections to one daemon", ""),
        more("per_s", "welcomed, of those", "/s"),
        more("pings_per_s", "answered, all at once", "/s"),
        less("p50_ratio", "p50 of a call, against one connection", "×", 2, (at_most(1.2),)),
    ),
    _connections,
    contestants=("agentd",),
    starts=False,
    limit_s=90,
    long_limit_s=300,
    once=True,
)


def _processes(one: Contestant, plan: Plan) -> Values:
    addresses = one.spread(8)
    [agent] = one.create(1)
    alone = p50_us(one, agent, plan)
    count = plan.of(4, 50, 1000)
    with crowd.Processes(addresses, count) as processes:
        with_them = p50_us(one, agent, plan)
        calls_s = processes.call_all()
    return {
        "processes": count,
        "joined_per_s": count / processes.joined_s,
        "calls_per_s": count * crowd.CALLS / calls_s,
        "p50_ratio": with_them / alone,
    }


PROCESSES = Row(
    "processes",
    "many client processes, each with its own session: 50; 1,000 with --long",
    (
        more("processes", "client processes", ""),
        more("joined_per_s", "connected and answered once", "/s"),
        more("calls_per_s", "calls of all of them at once", "/s"),
        less("p50_ratio", "p50 of a call, against one process", "×", 2, (at_most(1.2),)),
    ),
    _processes,
    contestants=("agentd",),
    limit_s=90,
    long_limit_s=600,
    once=True,
)


def _idle(one: Contestant, plan: Plan) -> Values:
    agents = one.create(FEW)
    one.call(agents[0], "echo", 1)
    servers, me = one.servers(), [os.getpid()]
    time.sleep(plan.of(0.1, 1.0))  # what was begun has ended
    seconds = plan.of(0.5, 10.0)
    before, mine_before, began = usage(servers), usage(me), time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    used, mine = usage(servers).since(before), usage(me).since(mine_before)
    return {
        "cpu_percent": used.cpu_s / took * 100,
        "wakeups_per_s": used.wakeups / took,
        "client_cpu_percent": mine.cpu_s / took * 100,
        "client_wakeups_per_s": mine.wakeups / took,
    }


IDLE = Row(
    "idle",
    "daemon, two workers and ten agents with nothing to do, one client connected",
    (
        less("cpu_percent", "idle server, of a core", "%", 2, (at_most(0.5),)),
        less("wakeups_per_s", "idle server, wake-ups", "/s", 1, (at_most(50, "no storm"),)),
        less("client_cpu_percent", "idle client, of a core", "%", 2),
        less("client_wakeups_per_s", "idle client, wake-ups", "/s", 1),
    ),
    _idle,
    contestants=("agentd",),
)
