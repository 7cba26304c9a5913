"""What the kernel knows of processes: who is below whom, memory, processor time, wake-ups."""

from __future__ import annotations

import glob
import os
import platform
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Snapshot",
    "Usage",
    "below",
    "end_all",
    "kernel_s",
    "machine",
    "marked",
    "probe_ms",
    "pss_kib",
    "threads",
    "usage",
]

PROC = Path("/proc")


def below(pid: int | None = None) -> list[int]:
    """All processes that descend from ``pid`` (default: this one)."""
    found: list[int] = []
    todo = [os.getpid() if pid is None else pid]
    while todo:
        for task in _glob(f"{todo.pop()}/task/*/children"):
            children = [int(child) for child in _read(task).split()]
            found += children
            todo += children
    return found


def pss_kib(pids: Iterable[int]) -> int:
    """Proportional set size: memory shared by several processes is counted once."""
    total = 0
    for pid in pids:
        for line in _read(PROC / str(pid) / "smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


class Usage(NamedTuple):
    """What a thread, or some processes, used."""

    cpu_s: float
    wakeups: int
    """How often a thread waited and went on."""

    def since(self, before: Usage) -> Usage:
        """The difference."""
        return Usage(self.cpu_s - before.cpu_s, self.wakeups - before.wakeups)


class Snapshot(NamedTuple):
    """What some processes have used until now."""

    cpu_s: float
    waits: dict[int, int]
    """By thread: those of threads that end are lost."""

    def since(self, before: Snapshot) -> Usage:
        """What was used in between; the last waits of threads that ended are not counted."""
        waits = sum(count - before.waits.get(thread, 0) for thread, count in self.waits.items())
        return Usage(self.cpu_s - before.cpu_s, waits)


def usage(pids: Iterable[int]) -> Snapshot:
    """Of all their threads, ended ones and the libraries' ones too; to the nanosecond."""
    some = list(pids)
    waits = {thread: _waits(task) for pid in some for thread, task in _tasks(pid).items()}
    return Snapshot(sum(map(_cpu_s, some)), waits)


def _cpu_s(pid: int) -> float:
    try:
        # The number of another process's clock, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it ended
        return 0.0


def kernel_s(pid: int) -> float:
    """Processor time that a process has spent in the kernel, to the hundredth of a second."""
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[12]) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _tasks(pid: int) -> dict[int, Path]:
    return {int(task.name): task for task in _glob(f"{pid}/task/*")}


def _waits(task: Path) -> int:
    return sum(
        int(line.split()[1])
        for line in _read(task / "status").splitlines()
        if line.startswith("voluntary_ctxt_switches:")
    )


def threads(pid: int) -> dict[str, Usage]:
    """Each thread of a process, by the name that the kernel has for it, and its number."""
    found: dict[str, Usage] = {}
    for number, task in _tasks(pid).items():
        cpu_ns = int((_read(task / "schedstat") or "0").split()[0])
        found[f"{_read(task / 'comm').strip()} {number}"] = Usage(cpu_ns / 1e9, _waits(task))
    return found


def marked(mark: str) -> list[int]:
    """Processes that were started with this ``NAME=value`` in their environment."""
    wanted = b"\0" + mark.encode() + b"\0"
    return [
        int(folder.name)
        for folder in _glob("[0-9]*")
        if wanted in b"\0" + _read_bytes(folder / "environ") + b"\0"
    ]


def end_all(mark: str, patience_s: float) -> int:
    """Wait for the marked processes to end by themselves, then end them; how many it had to."""
    deadline = time.monotonic() + patience_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return len(left)


def probe_ms() -> float:
    """How long a fixed piece of Python takes now: tells a disturbed run. The best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        x = 1
        for i in range(200_000):
            x = (x * 1103515245 + 12345 + i) & 0x7FFFFFFF
        best = min(best, time.perf_counter() - began)
    return best * 1e3


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    from importlib.metadata import version

    import zmq

    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _read(PROC / "cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        **{name: version(name) for name in ("pyzmq", "msgpack", "dill")},
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _glob(pattern: str) -> list[Path]:
    # Path.glob would fail if a process ended while it looks.
    return [PROC / found for found in glob.glob(pattern, root_dir=PROC)]  # noqa: PTH207


def _read(path: Path) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or is not ours
        return b""
