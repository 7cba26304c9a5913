"""Identities: random, so that nobody has to agree on them first."""

from __future__ import annotations

import os
import re
import threading
from typing import NewType

__all__ = ["AgentId", "SessionId", "WorkerId", "new_agent_id", "new_session_id", "show"]

AgentId = NewType("AgentId", bytes)
"""16 random bytes, chosen by whoever creates the agent; people see 32 hex characters."""

SessionId = NewType("SessionId", bytes)
"""16 random bytes of one client process; what the process made is owned by its session."""

WorkerId = NewType("WorkerId", str)
"""``w1``, ``w2``, …: never used twice within the life of a daemon."""

ID_BYTES = 16
AT_ONCE = 64
"""The kernel is asked for so many ids at once: agents are made by the thousand."""
HEX_ID = re.compile(r"[0-9a-f]{4,32}\Z")


_pool = b""
_lock = threading.Lock()  # protects the pool


def _forget_pool() -> None:
    """In a forked child: what is in the pool is its parent's."""
    global _pool, _lock
    _pool, _lock = b"", threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


def new_agent_id() -> AgentId:
    """A fresh id; 128 random bits never meet in practice, and cannot be guessed."""
    global _pool  # noqa: PLW0603 - random bytes that nobody has had yet
    with _lock:
        if not _pool:
            _pool = os.urandom(ID_BYTES * AT_ONCE)
        fresh, _pool = _pool[:ID_BYTES], _pool[ID_BYTES:]
    return AgentId(fresh)


def new_session_id() -> SessionId:
    """A fresh id for this process."""
    return SessionId(os.urandom(ID_BYTES))


def show(agent: bytes) -> str:
    """The id as people see it."""
    return agent.hex()
