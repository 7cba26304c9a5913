"""Ways in: how a hostile peer connects to a door, and how its messages are put on that line."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agentd.protocol import local_versions, pack
from agentd.protocol.messages import Hello
from agentd.transport.process import host_identity, process_start
from benchmarks.hostile import zmtp

if TYPE_CHECKING:
    from benchmarks.hostile.curve import CurveClient

__all__ = ["DOORS", "CurveLine", "IpcLine", "Line", "Target", "WorkerLine", "hello", "line_to"]

DOORS = ("ipc", "worker", "curve")
TIMEOUT_S = 5.0
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: closed at once, so that ports do not run out."""


class Target(NamedTuple):
    """What is to be harmed, and what the peer may know for that."""

    door: str
    address: str
    """A path; of ``curve`` ``HOST:PORT``."""
    agent: str
    epoch: int
    server: str = ""
    """Its public key."""
    secret: str = ""
    """Of a key that has a grant."""


def hello() -> list[bytes]:
    """What a client of this process says first."""
    mine, pid = local_versions(), os.getpid()
    versions = (mine.protocol, mine.agentd, mine.python)
    started = process_start(pid)
    return pack(Hello(1, *versions, os.urandom(16), pid, host_identity(), started, mine.dill))


class Line(Protocol):
    """One way in; each ``connect`` begins anew."""

    reusable: bool
    """What was sealed once may be sent again, over later connections, too."""

    def connect(self) -> socket.socket:
        """Nothing but the connection."""

    def meet(self, *, introduced: bool) -> socket.socket:
        """With the handshake, and hello if it is to be introduced."""

    def seal(self, frames: Sequence[bytes], *, finished: bool = True) -> bytes:
        """The bytes of a message."""

    def part(self) -> bytes:
        """The beginning of a handshake, or of a first message."""


class UnixLine:
    """A door that is a file."""

    reusable = True

    def __init__(self, target: Target) -> None:
        self._path = target.address

    def connect(self) -> socket.socket:
        """See ``Line``."""
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(TIMEOUT_S)
        try:
            connected.connect(self._path)
        except BaseException:
            connected.close()
            raise
        return connected


class IpcLine(UnixLine):
    """The daemon's front door."""

    def meet(self, *, introduced: bool) -> socket.socket:
        """See ``Line``."""
        connected = self.connect()
        zmtp.handshake(connected)
        if introduced:
            connected.sendall(self.seal(hello()))
            zmtp.read_frame(connected)
        return connected

    def seal(self, frames: Sequence[bytes], *, finished: bool = True) -> bytes:
        """See ``Line``."""
        return zmtp.message(frames, finished=finished)

    def part(self) -> bytes:
        """See ``Line``."""
        return zmtp.GREETING[:40]


class CurveLine:
    """TCP, with a key that is known (or, made anew, one that is not)."""

    reusable = False

    def __init__(self, target: Target) -> None:
        host, _, port = target.address.rpartition(":")
        self._where = host, int(port)
        self._server, self._secret = bytes.fromhex(target.server), bytes.fromhex(target.secret)
        self._client: CurveClient

    def _new_client(self) -> CurveClient:
        # Only here: NaCl is there for those who develop agentd, other rows do without.
        from benchmarks.hostile.curve import CurveClient

        return CurveClient(self._server, self._secret)

    def connect(self) -> socket.socket:
        """See ``Line``."""
        connected = socket.create_connection(self._where, TIMEOUT_S)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        return connected

    def meet(self, *, introduced: bool) -> socket.socket:
        """See ``Line``."""
        connected = self.connect()
        try:
            self._client = self._new_client()
            self._client.meet(connected)
            if introduced:
                connected.sendall(self.seal(hello()))
                self._client.read(connected)
        except BaseException:
            connected.close()
            raise
        return connected

    def as_stranger(self) -> None:
        """Show a key that nobody knows, from now on."""
        self._secret = os.urandom(32)

    def seal(self, frames: Sequence[bytes], *, finished: bool = True) -> bytes:
        """See ``Line``."""
        return self._client.message(frames, finished=finished)

    def part(self) -> bytes:
        """See ``Line``: all but the end of the first command, which costs the server nothing."""
        return zmtp.greeting(b"CURVE") + self._new_client().hello()[:-1]


class WorkerLine(UnixLine):
    """A worker's own socket."""

    def meet(self, *, introduced: bool) -> socket.socket:
        """See ``Line``."""
        return self.connect()

    def seal(self, frames: Sequence[bytes], *, finished: bool = True) -> bytes:
        """See ``Line``. Unfinished: a last frame is announced that does not come."""
        lengths = [*map(len, frames), *([] if finished else [1 << 20])]
        return struct.pack(f"<HH{len(lengths)}Q", len(lengths), 0, *lengths) + b"".join(frames)

    def part(self) -> bytes:
        """See ``Line``."""
        return struct.pack("<HHQ", 2, 0, 100)


def line_to(target: Target) -> Line:
    """The way to a target."""
    kinds: dict[str, type[IpcLine | CurveLine | WorkerLine]] = {
        "ipc": IpcLine,
        "curve": CurveLine,
        "worker": WorkerLine,
    }
    return kinds[target.door](target)
