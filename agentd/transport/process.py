"""Which process is that: identities that survive the reuse of a pid."""

from __future__ import annotations

import os

__all__ = ["alive", "host_identity", "process_start"]


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


def host_identity() -> str:
    """Equal for two processes exactly if they can see each other's pids."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot:
            boot_id = boot.read().strip()
        return f"{boot_id}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown-{os.getpid()}"
