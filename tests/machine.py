"""What this machine can do, and not every one can; and what this process has of it."""

import contextlib
import gc
import socket
from pathlib import Path

import pytest

__all__ = ["descriptors", "has_ipv6", "needs_ipv6"]


def has_ipv6() -> bool:
    """Whether somebody may listen on its loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def descriptors() -> set[tuple[str, str]]:
    """Those of this process, and what they are. Others may go meanwhile: compare with ``<=``."""
    gc.collect()
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # by which the folder was read
            found.add((fd.name, str(fd.readlink())))
    return found
