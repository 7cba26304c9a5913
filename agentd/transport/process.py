"""Which process is that: identities that survive the reuse of a pid."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import resource
from typing import Final

__all__ = [
    "activity",
    "alive",
    "collect_rarely",
    "give_memory_back",
    "host_identity",
    "process_start",
    "raise_file_limit",
    "resident_bytes",
]

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

FILES: Final = 65_536
"""Descriptors a daemon or a worker may have. The usual 1,024 are soon spent; far more would slow
down programs that agents start and that close all they could have."""


COLLECT_AFTER: Final = 10_000


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have, up to ``FILES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect_rarely() -> None:
    """For a process that is a daemon, once it has imported all: leave that to itself.

    The collector need not look at it again, nor at all after every 700 new objects: what a daemon
    makes hardly ever refers to itself.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def alive(pid: int, started: str) -> bool:
    """Whether this very process still runs here: a reused pid has another start time."""
    return bool(started) and process_start(pid) == started


def process_start(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot; empty if there is none.

    Field 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold spaces and brackets.
    A zombie counts as gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def activity(pid: int) -> tuple[str, float] | None:
    """The state of a process (a letter, see proc(5)) and the seconds it has worked or wanted to.

    That is the processor time it has used, and for how long its threads stood in line for one: on
    a machine that is overloaded a process gets little, and is no less at work for that. The state
    is ``R`` while any of them works or stands in line: how long that takes counts when it is over.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    state = fields[0].decode()
    waited, in_line = _in_line(pid)
    if in_line and state not in "Tt":
        state = "R"
    return state, ticks / os.sysconf("SC_CLK_TCK") + waited


def _in_line(pid: int) -> tuple[float, bool]:
    """Seconds that the threads it has now have waited for a processor, and whether one does now.

    The second number of ``schedstat`` (Documentation/scheduler/sched-stats.rst of Linux), which
    grows as the wait ends; 0 where nobody counts.
    """
    waited, in_line = 0, False
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            folder = f"/proc/{pid}/task/{thread}"
            with contextlib.suppress(OSError):  # it has just ended
                with open(f"{folder}/stat", "rb") as stat:
                    in_line = in_line or stat.read().rpartition(b")")[2].split()[0] == b"R"
                with open(f"{folder}/schedstat", "rb") as stat:
                    waited += int(stat.read().split()[1])
    return waited / 1e9, in_line


def host_identity() -> str:
    """Equal for two processes exactly if they can see each other's pids."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot:
            boot_id = boot.read().strip()
        return f"{boot_id}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown-{os.getpid()}"


def resident_bytes() -> int:
    """Memory of this process that is in RAM now.

    The first call takes a descriptor and keeps it: a process that has run out of them, flooded with
    connections, must still be able to look. Raises ``OSError`` if there is none to be had.
    """
    return int(os.pread(_statm(os.getpid()), 200, 0).split()[1]) * _PAGE


@functools.lru_cache(maxsize=1)
def _statm(_pid: int) -> int:
    """Open ``statm``; a forked child would read its parent's, so it opens its own."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def give_memory_back() -> None:
    """Return to the system what the C library keeps of memory that was freed, where it can."""
    import ctypes  # rarely needed, and slow to import

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
    if trim is not None:
        trim(0)
