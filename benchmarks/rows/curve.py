"""Over the network, encrypted: what a call costs over CURVE TCP, beside ipc.

Clients over TCP reach the daemon alone, which relays. So ipc is measured twice: straight to the
worker, as usual, and relayed, which tells the cost of the network's way from that of its keys.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.rows.calls import WINDOW, latencies
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.stats import percentile

__all__ = ["CURVE"]

START_S = 60.0
_SERVE = "from agentd_cli.serve import main; main()"
_BINDS = ("--bind", "tcp://127.0.0.1:0", "--workers", "1")


def _curve(one: Contestant, plan: Plan) -> Values:
    import agentd

    with _daemon() as (ipc, tcp):
        name = agentd.connect(ipc).create("benchmarks.hosted:Echo", options={"name": "echo"})
        agentd.handle(name).wait(START_S)
        agents = {
            "ipc": agentd.connect(ipc).get("echo"),
            "relayed": agentd.connect(ipc, direct=False).get("echo"),
            "curve": agentd.connect(tcp).get("echo"),
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


@contextlib.contextmanager
def _daemon() -> Iterator[tuple[str, str]]:
    """One with a door to TCP and a key to it; its endpoints."""
    from agentd import keys

    before = os.environ.get("AGENTD_CONFIG_DIR")
    with tempfile.TemporaryDirectory(prefix="agb", dir="/tmp") as folder:
        server, client, ipc = f"{folder}/server", f"{folder}/client", f"ipc://{folder}/s"
        pair = keys.make_pair(server, "server", "server")
        mine = keys.make_pair(client, "client", "bench")
        role = frozenset({keys.Role.DEPLOYER})
        grant = keys.Grant(keys.who_of(mine.public), "bench", role, ("*",), ("*",))
        keys.write_grant(server, grant, mine.public)
        log = Path(folder, "log")
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", "--bind", ipc, *_BINDS],
                env={**os.environ, "AGENTD_CONFIG_DIR": server, "XDG_RUNTIME_DIR": folder},
                stderr=said,
            )
        try:
            tcp = _listening(process, log)
            os.environ["AGENTD_CONFIG_DIR"] = client
            keys.write_pin(client, tcp, pair.public, code=True)
            yield ipc, tcp
        finally:
            process.terminate()
            process.wait(START_S)
            if before is None:
                os.environ.pop("AGENTD_CONFIG_DIR", None)
            else:
                os.environ["AGENTD_CONFIG_DIR"] = before


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while True:
        found = re.search(r"tcp://[^\s,]+", log.read_text())
        if found is not None:
            return found[0]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the daemon does not listen: {log.read_text()}")
        time.sleep(0.01)


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
