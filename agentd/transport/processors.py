"""How many processors this process may use, and whether others want them just now."""

from __future__ import annotations

import contextlib
import os
from typing import Final

__all__ = ["Processors", "available", "move"]

LOOK_S: Final = 0.001
"""For how long counts what was seen."""
_GROUPS: Final = "/sys/fs/cgroup"
_LOADAVG: Final = "/proc/loadavg"


def available(proc: str = "/proc/self/cgroup", groups: str = _GROUPS) -> int:
    """Whole processors that this process may keep busy all the time.

    By its affinity, and by the quotas of its control groups (``cpu.max`` of cgroup v2; of v1 that
    of the outermost, which is a container's own): who has used up his is stopped for the rest of
    the period.
    """
    found = _old_quota(f"{groups}/cpu", len(os.sched_getaffinity(0)))
    mine = ""
    with contextlib.suppress(OSError):
        lines = os.fsdecode(_read(proc)).splitlines()
        mine = next((line[3:].strip() for line in lines if line.startswith("0::")), "")
    while True:
        found = min(found, _quota(f"{groups}{mine}/cpu.max", found))
        if not mine:
            return found
        mine = mine.rpartition("/")[0]


def _quota(path: str, unlimited: int) -> int:
    try:
        quota, period = _read(path).split()
        return unlimited if quota == b"max" else int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):  # there is none
        return unlimited


def _old_quota(folder: str, unlimited: int) -> int:
    try:
        allowed = int(_read(f"{folder}/cpu.cfs_quota_us"))
        if allowed < 0:
            return unlimited
        return min(unlimited, allowed // int(_read(f"{folder}/cpu.cfs_period_us")))
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited


def move() -> None:
    """Have this thread go on at another processor, if it may use one; it may come back later."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # then it stays
        allowed = os.sched_getaffinity(0)
        others = allowed - {_here()}
        if others:
            try:
                os.sched_setaffinity(0, others)
            finally:
                os.sched_setaffinity(0, allowed)


def _here() -> int:
    """The processor of this thread, which is field 39 of its ``stat`` (proc(5))."""
    return int(_read("/proc/thread-self/stat").rpartition(b")")[2].split()[36])


def _read(path: str) -> bytes:
    """A short file, which is far quicker than with ``open``."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


class Processors:
    """Whether there is one for everybody who wants to run."""

    def __init__(self, count: int, loadavg: str = _LOADAVG) -> None:
        """``count``: how many there are."""
        self._count = count
        self._loadavg = loadavg
        self._until = 0.0
        self._enough = False

    def are_enough(self, now: float) -> bool:
        """Whether no more threads want to run, on the whole host, than there are processors.

        ``now``: seconds, by any clock. Takes 3 us each ``LOOK_S``.
        """
        if self._count < 2:  # whoever is waited for needs the one that there is
            return False
        if now >= self._until:
            self._until = now + LOOK_S
            self._enough = self._wanted() <= self._count
        return self._enough

    def _wanted(self) -> int:
        """Those that run or wait for a processor: in the fourth field of that file (proc(5))."""
        try:
            return int(_read(self._loadavg).split()[3].partition(b"/")[0])
        except (OSError, ValueError, IndexError):
            return self._count + 1  # not to be known: leave them to others
