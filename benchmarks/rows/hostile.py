"""A polite client beside peers that are hostile or slow: how much longer it waits.

Each kind of peer is measured in turns: nobody else, the peer, and busy neighbours that use as much
processor time as the peer did, together with what daemon and workers did for it, but leave the
daemon alone. The first tells what users notice, the last what of it is the daemon's doing: who
makes processors work slows down everybody on a machine, however fair each program on it is.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from benchmarks.contestants import Contestant
from benchmarks.goals import at_most
from benchmarks.hostile.lines import DOORS, Target
from benchmarks.hostile.peer import Burner, Peer
from benchmarks.rows.calls import check
from benchmarks.rows.row import Metric, NotAvailable, Plan, Row, Values, less
from benchmarks.served import START_S, Served, served
from benchmarks.stats import percentile, summarize
from benchmarks.system import below, usage

__all__ = ["HOSTILE", "SETTINGS", "target_at"]

SETTINGS = """
max_message_bytes = 16_777_216
client_calls = 64
client_bytes = 67_108_864
agent_calls = 1000
agent_bytes = 268_435_456
daemon_bytes = 536_870_912
max_queued_bytes = 67_108_864
max_memory_bytes = 1_073_741_824
client_portion = 0.2
"""
"""Those that docs/limits.md recommends where strangers may come."""
PAUSE_S = 0.001
"""Between two calls of the polite client: it is to be served at once, not to fill the machine."""
WARM_S = 0.2
"""The peer has done harm for so long before it counts."""
CPU_SHARE = 0.98

TITLES = {
    "connections": "connections that come and go",
    "half_open": "300 handshakes left half-open",
    "garbage": "garbage for headers",
    "dear": "the longest headers, wrong at their end",
    "big": "messages of 8 MiB",
    "pings": "pings without end",
    "calls": "calls without end",
    "unread": "questions, no answer read",
    "slow": "calls, answers read slowly",
    "unfinished": "messages never finished",
    "wrong": "wrong tokens",
}
"""The kinds of ``benchmarks.hostile.kinds``."""


class Times(NamedTuple):
    """Of one stretch: seconds of the polite client's calls."""

    p50: float
    p99: float


class Round(NamedTuple):
    """Three stretches, one after the other."""

    idle: Times
    beside: Times
    burner: Times
    cost: float
    """Cores that the peer used, and daemon and workers for it."""


def _measure(door: str, _one: Contestant, plan: Plan) -> Values:
    import agentd

    values: Values = {}
    if find_spec("nacl") is None:
        raise NotAvailable("needs PyNaCl")
    count = plan.of(1, 5, 15)
    with served(SETTINGS, count * len(TITLES)) as daemon:
        agentd.connect(daemon.ipc).create("benchmarks.hosted:Echo", options={"name": "polite"})
        theirs = agentd.connect(daemon.ipc).create("benchmarks.hosted:Echo")
        agent = _polite(door, daemon)
        target = target_at(door, daemon, theirs)
        servers = [daemon.pid, *below(daemon.pid)]
        _stretch(agent, plan.of(0.05, 1.0))
        rounds: dict[str, list[Round]] = {kind: [] for kind in TITLES}
        for _ in range(count):
            for kind, found in rounds.items():
                # A key of its own: who once sent nonsense is not listened to for a while.
                target = target._replace(secret=daemon.secrets.pop().hex())
                found.append(_round(agent, kind, target, servers, plan.of(0.05, 0.8)))
    for kind, found in rounds.items():
        values |= dict(_values(kind, found))
    return values


def _polite(door: str, daemon: Served) -> Any:
    import agentd

    ways = {
        "worker": partial(agentd.connect, daemon.ipc),
        "ipc": partial(agentd.connect, daemon.ipc, direct=False),
        "curve": partial(agentd.connect, daemon.tcp),
    }
    agent = ways[door]().get("polite")
    agentd.handle(agent).wait(START_S)
    return agent


def target_at(door: str, daemon: Served, agent: Any) -> Target:
    """An agent, as a hostile peer at that door is told of it."""
    import agentd
    from agentd.client.runtime import runtime

    handle = agentd.handle(agent)
    handle.wait(START_S)
    check(agent.echo("hello") == "hello", "echo")
    place = runtime().session_at(handle.endpoint).places.known(bytes.fromhex(handle.id))
    assert place is not None
    addresses = {
        "ipc": daemon.ipc.removeprefix("ipc://"),
        "curve": daemon.tcp.removeprefix("tcp://"),
        "worker": place.address.removeprefix("unix://"),
    }
    return Target(door, addresses[door], handle.id, place.epoch, daemon.server_key.hex())


def _round(agent: Any, kind: str, target: Target, servers: list[int], seconds: float) -> Round:
    usual, idle = _clocked(agent, servers, seconds)
    with Peer(kind, target) as peer:
        _stretch(agent, min(seconds, WARM_S))
        used, beside = _clocked(agent, [*servers, peer.process.pid], seconds)
    cost = max(0.0, used - usual)
    # What it left has been cleared away by then; by TCP, of which the kernel holds megabytes, late.
    _stretch(agent, 2.5 * seconds if target.door == "curve" else min(seconds, WARM_S))
    with contextlib.ExitStack() as burners:
        count = max(1, math.ceil(cost))
        for _ in range(count):
            burners.enter_context(Burner(min(CPU_SHARE, cost / count)))
        burner = _stretch(agent, seconds)
    return Round(idle, beside, burner, cost)


def _clocked(agent: Any, pids: list[int], seconds: float) -> tuple[float, Times]:
    """How many cores these processes used meanwhile, and how long the calls took."""
    before, began = usage(pids), time.perf_counter()
    times = _stretch(agent, seconds)
    return usage(pids).since(before).cpu_s / (time.perf_counter() - began), times


def _stretch(agent: Any, seconds: float) -> Times:
    took: list[float] = []
    ends = time.perf_counter() + seconds
    while not took or time.perf_counter() < ends:
        began = time.perf_counter()
        answer = agent.echo(began)
        took.append(time.perf_counter() - began)
        check(answer == began, "echo")
        time.sleep(PAUSE_S)
    return Times(percentile(took, 0.5), percentile(took, 0.99))


def _values(kind: str, rounds: list[Round]) -> Iterator[tuple[str, float]]:
    """The medians; of the ratios those of each round's own."""
    figures = {
        "p50_ms": [r.beside.p50 * 1e3 for r in rounds],
        "p99_ms": [r.beside.p99 * 1e3 for r in rounds],
        "idle_p99_ms": [r.idle.p99 * 1e3 for r in rounds],
        "of_idle": [r.beside.p99 / r.idle.p99 for r in rounds],
        "of_burner": [r.beside.p99 / r.burner.p99 for r in rounds],
        "cost": [r.cost for r in rounds],
    }
    for name, found in figures.items():
        summary = summarize(found)
        assert summary is not None
        yield f"{kind}_{name}", summary.median


WAYS = {
    "ipc": "the daemon's ipc door",
    "worker": "a worker's own socket",
    "curve": "TCP with CURVE",
}
GOAL = at_most(3)


def _metrics(door: str, kind: str, title: str) -> Iterator[Metric]:
    what = f"{title} ({WAYS[door]}): p99 beside"
    yield less(f"{kind}_of_burner", what, "× busy neighbours", 2, (GOAL,))
    yield less(f"{kind}_of_idle", "  p99 beside", "× idle", 2, (GOAL,))
    yield less(f"{kind}_p99_ms", "  p99 beside", "ms", 2)
    yield less(f"{kind}_p50_ms", "  p50 beside", "ms", 2)
    yield less(f"{kind}_idle_p99_ms", "  p99 idle", "ms", 2)
    yield less(f"{kind}_cost", "  used by the peer, and for it", "cores", 2)


HOSTILE = tuple(
    Row(
        f"hostile-{door}",
        f"a polite client beside hostile and slow peers, {WAYS[door]}",
        tuple(metric for kind, title in TITLES.items() for metric in _metrics(door, kind, title)),
        partial(_measure, door),
        contestants=("agentd",),
        starts=False,
        limit_s=400,
        long_limit_s=1200,
        once=True,
    )
    for door in DOORS
)
