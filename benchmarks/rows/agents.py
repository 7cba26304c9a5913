"""Agents: how fast they are made, what they weigh, how long a slow ``__init__`` holds up whom."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least, at_most
from benchmarks.rows.calls import check
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.system import pss_kib

__all__ = ["CREATE", "HEAVY", "MEMORY", "TEN"]


def _create(one: Contestant, plan: Plan) -> Values:
    one.delete(one.create(1))
    count = plan.of(20, 1000)
    began = time.perf_counter()
    agents = one.create(count)
    seconds = time.perf_counter() - began
    check(one.call(agents[-1], "add", 2) == 2, "a new agent's state")
    check(one.call(agents[-1], "add", 3) == 5, "its state after that")
    check(one.call(agents[0], "add", 1) == 1, "another agent's state")
    return {"agents_per_s": count / seconds}


CREATE = Row(
    "create",
    "agents made by one client, until each is ready",
    (
        more(
            "agents_per_s",
            "agents created",
            "/s",
            goals=(at_least(1.3 * 7_338, "1.3 × Pyro5"),),
            peer="Pyro5 7,338",
        ),
    ),
    _create,
)


def _settled(one: Contestant, *, apart_s: float) -> int:
    """The memory of the servers once it stands still."""
    before = -1
    for _ in range(20):
        now = pss_kib(one.servers())
        if abs(now - before) < 32:
            break
        before = now
        time.sleep(apart_s)
    return now


def _memory(one: Contestant, plan: Plan) -> Values:
    apart_s = plan.of(0.02, 0.3)
    empty = _settled(one, apart_s=apart_s)
    one.create(4)  # what their class imports (asyncio, 4 MiB a worker) is no agent's
    few = _settled(one, apart_s=apart_s)
    count = plan.of(50, 2000)
    one.create(count)
    full = _settled(one, apart_s=apart_s)
    return {"server_mib": empty / 1024, "agent_kib": (full - few) / count}


MEMORY = Row(
    "memory",
    "proportional set size of the servers: daemon and two workers, no client",
    (
        less(
            "agent_kib",
            "memory of an idle agent",
            "KiB",
            1,
            (at_most(2),),
            "Pyro5 0.2",
        ),
        less(
            "server_mib",
            "memory of the server, empty",
            "MiB",
            goals=(at_most(60),),
            peer="Pyro5 16",
        ),
    ),
    _memory,
    once=True,
)


def _runs(log: Path) -> int:
    runs = len(log.read_text(encoding="ascii").splitlines())
    log.unlink()
    return runs


def _heavy(one: Contestant, plan: Plan) -> Values:
    from benchmarks.hosted import Heavy

    one.create(2)  # both workers are up, and know the module
    seconds = plan.of(0.1, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "runs"
        began = time.perf_counter()
        spec: Any = Heavy(str(log), seconds, to_dist=True)
        check(spec.ready(), "the first answer")
        spec_s = time.perf_counter() - began
        spec_runs = _runs(log)

        began = time.perf_counter()
        live: Any = Heavy(str(log), seconds).to_dist()
        check(live.ready(), "the first answer")
        live_s = time.perf_counter() - began
        live_runs = _runs(log)
    return {
        "spec_over_s": spec_s - seconds,
        "spec_runs": spec_runs,
        "live_over_s": live_s - seconds,
        "live_runs": live_runs,
    }


HEAVY = Row(
    "heavy",
    "an agent whose __init__ takes 0.5 s: to the first answer, beyond that half second",
    (
        less(
            "spec_over_s",
            "heavy __init__, to_dist=True: first answer after",
            "s",
            3,
            (at_most(0.03),),
            "AgentScope 0.06",
        ),
        less(
            "spec_runs",
            "heavy __init__, to_dist=True: runs",
            "",
            goals=(at_most(1),),
            peer="AgentScope 1",
        ),
        less(
            "live_over_s",
            "heavy __init__, .to_dist(): first answer after",
            "s",
            3,
            (at_most(0.03),),
            "AgentScope 0.57",
        ),
        less(
            "live_runs",
            "heavy __init__, .to_dist(): runs",
            "",
            goals=(at_most(1),),
            peer="AgentScope 2",
        ),
    ),
    _heavy,
    contestants=("agentd",),
)


def _ten(one: Contestant, plan: Plan) -> Values:
    from benchmarks.hosted import Heavy

    one.create(2)
    seconds = plan.of(0.1, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "runs"
        began = time.perf_counter()
        agents: list[Any] = [Heavy(str(log), seconds, to_dist=True) for _ in range(10)]
        for agent in agents:
            check(agent.ready(), "the first answer")
        wall = time.perf_counter() - began
        check(_runs(log) == 10, "runs of __init__")
    return {"over_s": wall - seconds}


TEN = Row(
    "ten",
    "ten agents whose __init__ waits for 0.5 s, made by one client: beyond that half second",
    (less("over_s", "ten such agents: all answered after", "s", 3, goals=(at_most(0.1),)),),
    _ten,
    contestants=("agentd",),
)
