"""How the daemon stands with its limits: each limit, and what was counted beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Final, TypedDict

from agentd.config import ServerConfig
from agentd.server.router import Router
from agentd.server.watchdog import Watchdog
from agentd.transport.connections import Connections
from agentd.transport.counted import Counted
from agentd.transport.localfront import LocalFront
from agentd.transport.portions import Portions
from agentd.transport.process import resident_bytes
from agentd.transport.restraint import Restraint

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["LIMITS", "Standing", "standing"]

LIMITS: Final = tuple(
    setting.name
    for setting in fields(ServerConfig)
    if setting.name.startswith(("max_", "client_", "agent_", "daemon_", "handshake_"))
    and setting.name != "client_grace_s"
)
"""The settings that are limits."""


class Standing(TypedDict):
    """What ``info`` says of limits."""

    limits: dict[str, float]
    counters: dict[str, int]


def standing(
    config: ServerConfig,
    router: Router,
    fronts: Sequence[FrontPort | LocalFront],
    connections: Connections,
    watchdog: Watchdog,
    restraint: Restraint,
    portions: Portions,
    workers: Counted,
) -> Standing:
    """Both, as plain data. ``workers``: what was counted at their own sockets, and counts, too."""
    limits: dict[str, float] = {name: getattr(config, name) for name in LIMITS}
    limits["max_connections"] = connections.most  # fewer than wanted if the system allows fewer
    used = router.budgets.used("daemon")
    counters = {
        "connections": len(connections),
        "memory_bytes": resident_bytes(),
        "disconnected_memory": watchdog.disconnected,
        "open_calls": used.calls,
        "open_bytes": used.bytes,
        "queued_bytes": router.answers.delivery.total(),
        "undelivered": router.answers.undelivered,
        "rests": portions.rests,
    }
    mine = Counted.of_refused(router.budgets.refused, router.too_large).plus(
        Counted(disconnected_unread=router.answers.disconnected_unread),
        restraint.counted(),
        connections.counted(),
        router.screening.counted(),
        *(front.counted() for front in fronts if isinstance(front, LocalFront)),
    )
    return {"limits": limits, "counters": counters | mine.plus(workers)._asdict()}
