"""What the daemon tells a worker on its standard input (see ``server/launcher.py``)."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field, replace

__all__ = ["DoorSettings", "Settings", "read", "receive"]


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Of this worker's door to the network."""

    hosts: list[str]
    ports: tuple[int, int]
    handshake_s: float
    max_connections: int
    max_malformed: int
    max_header_bytes: int
    max_frames: int
    max_header_depth: int
    max_header_items: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields are described where the daemon writes them."""

    worker: str
    back: int
    listener: int
    address: str
    daemon: str
    recorder: int
    folder: str
    sockets: list[str]
    path: list[str]
    parent: int
    owner: int
    heartbeat_s: float
    grace_s: float
    max_message_bytes: int
    max_queued_bytes: int
    kept_bytes: int
    client_calls: int
    client_bytes: int
    agent_calls: int
    agent_bytes: int
    daemon_calls: int
    daemon_bytes: int
    secrets: dict[str, str] = field(default_factory=dict)
    secret_values: dict[str, str] = field(default_factory=dict, repr=False)
    limits: dict[str, int] = field(default_factory=dict)
    safe: bool = False
    code: int = -1
    door: DoorSettings | None = None

    @property
    def code_folder(self) -> str:
        """Where the code is that came with agents.

        By the descriptor where there is one: it leads past folders that are closed to this user.
        By the process's id, so that programs which an agent starts can follow it, too.
        """
        if self.code < 0:
            return os.path.join(self.folder, "code")
        return f"/proc/{os.getpid()}/fd/{self.code}"


def read(fd: int) -> Settings:
    """The one line that comes from ``fd``; the daemon sends no other.

    The descriptors in it that are not inherited come over the connection: see ``receive``.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(fd, 65_536)
        if not part:
            raise EOFError("the daemon ended before it said what to do")
        line += part
    told = json.loads(line)
    door = told.pop("door", None)
    if door is not None:
        door["ports"] = tuple(door["ports"])
        told["door"] = DoorSettings(**door)
    return Settings(**told)


def receive(told: Settings, back: socket.socket) -> Settings:
    """With the descriptors that come over the connection to the daemon, ahead of all else."""
    _mark, fds, _flags, _address = socket.recv_fds(back, 1, 2, socket.MSG_CMSG_CLOEXEC)
    if len(fds) != 1 + (told.code >= 0):
        raise EOFError("the daemon ended before it handed over what belongs to the settings")
    return replace(told, recorder=fds[0], code=fds[1] if told.code >= 0 else -1)
