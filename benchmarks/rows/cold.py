"""From nothing to the first result, and to the end of the process."""

from __future__ import annotations

import compileall
import os
import select
import subprocess
import time
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.goals import at_most
from benchmarks.rows.calls import check
from benchmarks.rows.row import Plan, Row, Values, less
from benchmarks.stats import percentile

__all__ = ["COLD"]


def once(command: list[str]) -> tuple[float, float]:
    """Seconds from starting the program to its line, and from there to its end."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        check(process.stdout.readline() == b"first\n", "the first result")
        first = time.perf_counter()
        check(ends(process.pid, 30), "its end")
        last = time.perf_counter()
        check(process.wait() == 0, "its exit code")
        return first - began, last - first


def ends(pid: int, seconds: float) -> bool:
    """Wait until a child ends; ``Popen.wait`` looks every 50 ms, which would be measured."""
    ended = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(ended)


def compile_all() -> None:
    """What pip does as it installs, but not of an editable one: that writes what it compiles.

    Unless ``PYTHONDONTWRITEBYTECODE`` is set: then each process would compile everything anew.
    """
    import agentd

    compileall.compile_dir(Path(agentd.__file__).parent, quiet=2)


def _cold(one: Contestant, plan: Plan) -> Values:
    command = one.cold_command()
    if one.name == "agentd":
        compile_all()
    once(command)  # the files are in memory then
    runs = [once(command) for _ in range(plan.of(1, 5))]
    return {
        "first_s": percentile([first for first, _ in runs], 0.5),
        "exit_s": percentile([ends for _, ends in runs], 0.5),
    }


COLD = Row(
    "cold",
    "a new process with an embedded daemon, to its first result; then to its end",
    (
        less(
            "first_s",
            "cold start to the first result",
            "s",
            3,
            (at_most(0.45),),
            "Pyro5 0.26, AgentScope 1.71, Ray 4.03",
        ),
        less("exit_s", "clean exit after that", "s", 3, (at_most(0.1),), "Pyro5 0.01"),
    ),
    _cold,
    contestants=("agentd", "rpc", "broker"),
    starts=False,
)
