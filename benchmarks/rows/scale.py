"""Many agents, many clients, and nothing at all to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import crowd
from benchmarks.contestants import Contestant
from benchmarks.goals import at_most
from benchmarks.rows.calls import check, latencies
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.served import START_S, Served, served
from benchmarks.stats import percentile
from benchmarks.system import usage

__all__ = ["AGENTS", "CONNECTIONS", "IDLE", "PROCESSES"]

FEW = 10
CHUNK = 500


def p50_us(one: Contestant, agent: Any, plan: Plan) -> float:
    """Of a blocking call, now."""
    latencies(one, agent, plan.of(20, 300))
    return percentile(latencies(one, agent, plan.of(100, 3000)), 0.5) * 1e6


def _agents(one: Contestant, plan: Plan) -> Values:
    """Two daemons in turns, one with few agents, so that both have the same minutes."""
    count = plan.of(200, 10_000, 100_000)
    # More than a daemon hosts unless it is told to: an embedded one is not.
    with served(f"max_agents = {count + 1000}\n") as large, served("") as small:
        few = _make(one, small, FEW)
        began = time.perf_counter()
        many: list[Any] = []
        while len(many) < count:
            many += _make(one, large, min(CHUNK, count - len(many)))
        made_s = time.perf_counter() - began
        return {
            "agents": count,
            "per_s": count / made_s,
            **_calls(one, few, many, plan),
            **_listed(large, many),
            **_found_and_deleted(one, small, large, plan.of(5, 100)),
        }


def _make(one: Contestant, daemon: Served, count: int) -> list[Any]:
    os.environ["AGENTD_ENDPOINT"] = daemon.ipc
    return one.create(count)


def _calls(one: Contestant, few: list[Any], many: list[Any], plan: Plan) -> Values:
    took = {"few": 0.0, "many": 0.0}
    for agents in (many, many[len(many) // 2 :]):
        took["few"] += p50_us(one, few[0], plan)
        took["many"] += p50_us(one, agents[0], plan)
    check(one.call(many[-1], "add", 1) == 1, "one of many agents")
    return {"p50_ratio": took["many"] / took["few"]}


def _listed(daemon: Served, agents: list[Any]) -> Values:
    import agentd

    client = agentd.connect(daemon.ipc)
    began = time.perf_counter()
    listed = client.agents()
    took = time.perf_counter() - began
    check(len(listed) == len(agents), "the list of agents")
    return {"list_us_each": took / len(listed) * 1e6}


def _found_and_deleted(one: Contestant, small: Served, large: Served, samples: int) -> Values:
    import agentd

    found: dict[str, list[float]] = {small.ipc: [], large.ipc: []}
    deleted: dict[str, list[float]] = {small.ipc: [], large.ipc: []}
    for _ in range(samples):
        for daemon in (small, large):
            handle = agentd.handle(*_make(one, daemon, 1))
            client = agentd.connect(daemon.ipc)
            found[daemon.ipc].append(_seconds(partial(client.inspect, handle.id)))
            deleted[daemon.ipc].append(_seconds(handle.delete))
    few_find, find = (percentile(found[daemon.ipc], 0.5) for daemon in (small, large))
    few_delete, delete = (percentile(deleted[daemon.ipc], 0.5) for daemon in (small, large))
    return {
        "find_ms": find * 1e3,
        "find_ratio": find / few_find,
        "delete_ms": delete * 1e3,
        "delete_ratio": delete / few_delete,
    }


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


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
