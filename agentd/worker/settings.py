"""What the daemon tells a worker on its standard input (see ``server/launcher.py``)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

__all__ = ["Settings", "read"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields are described where the daemon writes them."""

    worker: str
    token: str
    back: str
    address: str
    daemon: str
    recorder: str
    folder: str
    sockets: list[str]
    path: list[str]
    parent: int
    heartbeat_s: float
    grace_s: float
    safe: bool = False


def read(fd: int) -> Settings:
    """The first line of ``fd``; what follows it is left unread."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            raise EOFError("the daemon ended before it said what to do")
        line += byte
    return Settings(**json.loads(line))
