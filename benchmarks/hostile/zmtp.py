"""ZMTP 3.0 by hand, without keys (RFC 23): the greeting, and messages as frames."""

from __future__ import annotations

import socket
from collections.abc import Sequence

__all__ = ["GREETING", "READY", "frame", "greeting", "handshake", "message", "read_frame"]

COMMAND = 4
LONG = 2
MORE = 1


def greeting(mechanism: bytes) -> bytes:
    """The first 64 bytes of a client."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


GREETING = greeting(b"NULL")
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


def frame(body: bytes, *, more: bool = False, command: bool = False) -> bytes:
    """One frame as it is on the wire."""
    flags = (COMMAND if command else 0) | (MORE if more else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body


def message(frames: Sequence[bytes], *, finished: bool = True) -> bytes:
    """A whole one, or one to which more is to come."""
    last = len(frames) - 1
    return b"".join(frame(f, more=i < last or not finished) for i, f in enumerate(frames))


def read(connected: socket.socket, size: int) -> bytes:
    """So many bytes; raises ``ConnectionError`` if the other side ends before."""
    got = b""
    while len(got) < size:
        part = connected.recv(size - len(got))
        if not part:
            raise ConnectionResetError("the other side closed the connection")
        got += part
    return got


def read_frame(connected: socket.socket) -> bytes:
    """The next one's body."""
    flags, size = read(connected, 2)
    if flags & LONG:
        size = int.from_bytes(bytes([size]) + read(connected, 7), "big")
    return read(connected, size)


def handshake(connected: socket.socket) -> None:
    """Until both sides are ready."""
    connected.sendall(GREETING)
    read(connected, 64)
    connected.sendall(frame(READY, command=True))
    read_frame(connected)
