"""What was not let in, refused or cut off: counted alike at the daemon's doors and at workers'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Counted"]


class Counted(NamedTuple):
    """By the names of ``info``; of each limit what docs/limits.md says."""

    connections_refused: int = 0
    connections_shed: int = 0
    handshakes_failed: int = 0
    malformed: int = 0
    disconnected_malformed: int = 0
    abandoned: int = 0
    disconnected_unread: int = 0
    disconnected_unfinished: int = 0
    disconnected_backlog: int = 0
    held_up: int = 0
    thinned_out: int = 0
    too_large: int = 0
    refused_client_calls: int = 0
    refused_client_bytes: int = 0
    refused_agent_calls: int = 0
    refused_agent_bytes: int = 0
    refused_daemon_calls: int = 0
    refused_daemon_bytes: int = 0

    @classmethod
    def of_refused(cls, refused: Mapping[str, int], too_large: int) -> Counted:
        """What budgets refused, by the name of the limit; and messages that were too large."""
        return cls(too_large=too_large, **{f"refused_{name}": n for name, n in refused.items()})

    def plus(self, *others: Counted) -> Counted:
        """All together."""
        return Counted(*map(sum, zip(self, *others, strict=True)))
