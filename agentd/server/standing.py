"""How the daemon stands with its limits: each limit, and what was counted beside it."""

from __future__ import annotations

from dataclasses import fields
from typing import Final, TypedDict

from agentd.config import ServerConfig
from agentd.server.router import Router
from agentd.server.watchdog import Watchdog
from agentd.transport.backlog import Backlog
from agentd.transport.connections import Connections
from agentd.transport.process import resident_bytes
from agentd.transport.recorder import Counted

__all__ = ["LIMITS", "Standing", "standing"]

LIMITS: Final = tuple(
    setting.name
    for setting in fields(ServerConfig)
    if setting.name.startswith(("max_", "client_", "agent_", "daemon_", "handshake_"))
    and setting.name != "client_grace_s"
)
"""The settings that are limits."""
BUDGETS: Final = tuple(
    f"{who}_{what}" for who in ("client", "agent", "daemon") for what in ("calls", "bytes")
)


class Standing(TypedDict):
    """What ``info`` says of limits."""

    limits: dict[str, float]
    counters: dict[str, int]


def standing(
    config: ServerConfig,
    router: Router,
    connections: Connections,
    watchdog: Watchdog,
    backlog: Backlog,
    workers: Counted,
) -> Standing:
    """Both, as plain data. ``workers``: what was counted at their own sockets."""
    limits: dict[str, float] = {name: getattr(config, name) for name in LIMITS}
    limits["max_connections"] = connections.most  # fewer than wanted if the system allows fewer
    used = router.budgets.used("daemon")
    counters = {
        "connections": len(connections),
        "connections_shed": connections.shed,
        "handshakes_failed": connections.handshakes_failed,
        "worker_connections_refused": workers.refused,
        "worker_disconnected_unread": workers.cut_off,
        "worker_refused_calls": workers.over_limit,
        "memory_bytes": resident_bytes(),
        "disconnected_memory": watchdog.disconnected,
        "open_calls": used.calls,
        "open_bytes": used.bytes,
        "queued_bytes": router.answers.delivery.total(),
        "disconnected_unread": router.answers.disconnected_unread,
        "undelivered": router.answers.undelivered,
        "malformed": router.malformed,
        "disconnected_backlog": backlog.disconnected,
        "disconnected_malformed": router.disconnected_malformed,
        "too_large": router.too_large,
    }
    for name in BUDGETS:
        counters[f"refused_{name}"] = router.budgets.refused.get(name, 0)
    return {"limits": limits, "counters": counters}
