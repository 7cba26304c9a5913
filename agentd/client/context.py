"""What is running right now, as the running code itself may ask."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["Running", "current", "running"]


class Running(NamedTuple):
    """The agent whose code this is."""

    agent: bytes
    epoch: int


running: ContextVar[Running | None] = ContextVar("agentd_running", default=None)


def current() -> Running | None:
    """The agent whose code runs in this context, if any."""
    return running.get()
