"""Identities: random, so that nobody has to agree on them first."""

from __future__ import annotations

import os
import re
from typing import NewType

__all__ = ["AgentId", "SessionId", "WorkerId", "new_agent_id", "new_session_id", "show"]

AgentId = NewType("AgentId", bytes)
"""16 random bytes, chosen by whoever creates the agent; people see 32 hex characters."""

SessionId = NewType("SessionId", bytes)
"""16 random bytes of one client process; what the process made is owned by its session."""

WorkerId = NewType("WorkerId", str)
"""``w1``, ``w2``, …: never used twice within the life of a daemon."""

ID_BYTES = 16
HEX_ID = re.compile(r"[0-9a-f]{4,32}\Z")


def new_agent_id() -> AgentId:
    """A fresh id; 128 random bits never meet in practice, and cannot be guessed."""
    return AgentId(os.urandom(ID_BYTES))


def new_session_id() -> SessionId:
    """A fresh id for this process."""
    return SessionId(os.urandom(ID_BYTES))


def show(agent: bytes) -> str:
    """The id as people see it."""
    return agent.hex()
