"""What the daemon tells a worker on its standard input (see ``server/launcher.py``)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

__all__ = ["Settings", "read"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields are described where the daemon writes them."""

    worker: str
    back: int
    listener: int
    address: str
    daemon: str
    recorder: str
    folder: str
    sockets: list[str]
    path: list[str]
    parent: int
    heartbeat_s: float
    grace_s: float
    max_message_bytes: int
    max_queued_bytes: int
    kept_bytes: int
    client_calls: int
    client_bytes: int
    daemon_calls: int
    daemon_bytes: int
    secrets: dict[str, str] = field(default_factory=dict)
    secret_values: dict[str, str] = field(default_factory=dict, repr=False)
    limits: dict[str, int] = field(default_factory=dict)
    safe: bool = False


def read(fd: int) -> Settings:
    """The one line that comes from ``fd``; the daemon sends no other."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(fd, 65_536)
        if not part:
            raise EOFError("the daemon ended before it said what to do")
        line += part
    return Settings(**json.loads(line))
