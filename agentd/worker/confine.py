"""What a worker may no longer do once it has started. Nothing here can be undone.

``no_new_privs``: a program that it starts gains nothing by a setuid bit. No core files, which would
hold whatever it knew. In safe mode it is not dumpable: other processes of this user can read
neither its memory nor its environment. One with a user of its own has no capabilities. The
parent-death signal is in ``lifeline``: it is set after all that, as a change of user clears it.
"""

from __future__ import annotations

import math
import os
import resource
import struct
from collections.abc import Mapping
from typing import Final

__all__ = ["confine", "leave_powers"]

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITY_VERSION: Final = 0x20080522
GRACE_S: Final = 2
"""Processor time between the signal that a program may catch (SIGXCPU) and the one it may not."""


def leave_powers(owner: int) -> None:
    """Gain no privileges any more; and have no capabilities, if the daemon is another user's.

    ``owner``: user id of the daemon. One that is not root but has capabilities passes ambient ones
    on to whom it starts, and changing from one user to another that is not root either takes none
    away. To be called before there are threads, as each has its own of both. Raises ``OSError`` if
    they cannot be given up.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == owner:
        return
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    head = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    if libc.capset(head, bytes(24)) != 0:  # effective, permitted, inheritable: none
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


def confine(limits: Mapping[str, int], *, safe: bool) -> None:
    """Set the limits of this process: ``memory_bytes``, ``cpu_s``, ``files``."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if safe:
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    _limit(resource.RLIMIT_CORE, 0, 0)
    if "memory_bytes" in limits:
        # Not the address space: of that a thread's arena alone reserves 64 MiB, unused.
        _limit(resource.RLIMIT_DATA, limits["memory_bytes"], limits["memory_bytes"])
    if "files" in limits:
        _limit(resource.RLIMIT_NOFILE, limits["files"], limits["files"])
    if "cpu_s" in limits:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = limits["cpu_s"] + math.ceil(used.ru_utime + used.ru_stime)
        _limit(resource.RLIMIT_CPU, most, most + GRACE_S)


def _limit(which: int, soft: int, hard: int) -> None:
    """As low as asked for, and no higher than it is already."""
    _now, highest = resource.getrlimit(which)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(which, (soft, hard))
