"""What this machine can do, and not every one can."""

import socket

import pytest

__all__ = ["has_ipv6", "needs_ipv6"]


def has_ipv6() -> bool:
    """Whether somebody may listen on its loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
