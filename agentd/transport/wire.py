"""Messages on a stream socket: several frames each, whole or not at all.

    message  = frames (u16)  shared (u16)  length (u64) of each frame  bytes of the frames
    little endian; ``shared`` is 0 in this version

Small frames are written and read together, many messages in one system call; a long one is read
straight into the memory in which it stays. What the socket does not take at once waits in the
*outbox*. Nothing here blocks, and nothing is thread-safe: see ``local.py``.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["BUFFER_SIZES", "MAX_FRAMES", "Broken", "Wire"]

CHUNK: Final = 64 * 1024
"""Read at once: hundreds of small messages, or one that is just not long."""
AT_ONCE: Final = 4 * 1024 * 1024
"""Read in a row: whoever sends long messages leaves time for the others in between."""
TOGETHER: Final = 32 * 1024
"""Frames that are shorter are copied into one piece: cheaper than a list of pieces."""
MAX_FRAMES: Final = 1030
"""Those of an envelope (see ``agentd.protocol``), and some that routes take."""
PIECES: Final = 512
"""Given to the kernel at once, at most: half of Linux's ``IOV_MAX``."""
BUFFER_SIZES: Final = 1024 * 1024
"""Asked of the kernel for each direction (``net.core.wmem_max`` may allow less): long messages
need fewer turns of both sides."""

_PREFIX: Final = struct.Struct("<HH")
_HEADS: Final = tuple(struct.Struct(f"<HH{count}Q") for count in range(9))


class Broken(Exception):
    """The connection ended, or its peer does not keep to the form."""


class Wire:
    """One connected stream socket, made non-blocking."""

    __slots__ = (
        "_filled",
        "_filling",
        "_frames",
        "_lengths",
        "_most",
        "_outbox",
        "_rest",
        "queued",
        "socket",
    )

    def __init__(self, connected: socket.socket, most: int) -> None:
        """``most``: bytes that one message may have."""
        connected.settimeout(0)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZES)
        self.socket = connected
        self._most = most
        self._outbox: deque[memoryview] = deque()
        self.queued = 0
        """Bytes in the outbox."""
        self._rest = b""
        """The beginning of something small that has not come whole."""
        self._lengths: list[int] = []  # of the message that comes in
        self._frames: list[Any] = []  # and those of its frames that are here
        self._filling: memoryview | None = None
        self._filled = 0

    # -- out ---------------------------------------------------------------------------------------
    def send(self, frames: Sequence[Any]) -> None:
        """Send them, or as much as the socket takes; the rest goes into the outbox.

        Buffers that may change are copied if they have to wait. Raises ``Broken``.
        """
        sizes = [
            len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in frames
        ]
        count = len(sizes)
        head = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"<HH{count}Q")
        packed = head.pack(count, 0, *sizes)
        pieces: list[Any]
        if sum(sizes) < TOGETHER:
            pieces = [b"".join((packed, *frames))]
        else:
            pieces = [packed, *(memoryview(frame).cast("B") for frame in frames)]
        if not self._outbox:
            pieces = self._write(pieces)
        for piece in pieces:
            view = memoryview(piece)
            if view.nbytes:
                self._outbox.append(view if view.readonly else memoryview(bytes(view)))
                self.queued += view.nbytes

    def flush(self) -> bool:
        """Send what waits; whether nothing does any more. Raises ``Broken``."""
        while self._outbox:
            batch = [self._outbox.popleft() for _ in range(min(PIECES, len(self._outbox)))]
            left = self._write(batch)
            self._outbox.extendleft(reversed(left))
            self.queued = sum(piece.nbytes for piece in self._outbox)
            if left:
                return False
        return True

    def _write(self, pieces: list[Any]) -> list[Any]:
        """Give them to the kernel; what it does not take."""
        at = 0
        while at < len(pieces):
            batch = pieces[at : at + PIECES]
            try:
                one = len(batch) == 1
                sent = self.socket.send(batch[0]) if one else self.socket.sendmsg(batch)
            except BlockingIOError:
                break
            except OSError as error:
                raise Broken(error.strerror or str(error)) from None
            for piece in batch:
                size = len(piece)
                if sent < size:
                    pieces[at] = memoryview(piece)[sent:]
                    break
                sent -= size
                at += 1
        return pieces[at:]

    # -- in ----------------------------------------------------------------------------------------
    def receive(self, most: int, messages: list[list[Any]]) -> bool:
        """Append what came, ``most`` messages or a few more; whether there may be more.

        Raises ``Broken`` at the end; what came before it has been appended.
        """
        taken = 0
        while len(messages) < most and taken < AT_ONCE:
            try:
                if self._filling is not None:
                    wanted = self._filling.nbytes - self._filled
                    got = self.socket.recv_into(self._filling[self._filled :])
                    self._count(got, messages)
                else:
                    wanted = CHUNK
                    data = self.socket.recv(CHUNK)
                    got = len(data)
                    if got:
                        self._parse(self._rest + data if self._rest else data, messages)
            except BlockingIOError:
                return False
            except OSError as error:
                raise Broken(error.strerror or str(error)) from None
            if not got:
                raise Broken("the connection was closed")
            if got < wanted and self._filling is None:
                return False
            taken += got
        return True

    def _count(self, got: int, messages: list[list[Any]]) -> None:
        assert self._filling is not None
        self._filled += got
        if self._filled == self._filling.nbytes:
            # Whoever gets it may keep it, and may write to it: nobody else has it.
            self._frames.append(self._filling)
            self._filling = None
            self._parse(b"", messages)

    def _parse(self, data: bytes, messages: list[list[Any]]) -> None:
        """Take apart what came; a long frame that is not whole yet is filled later."""
        at, end = 0, len(data)
        lengths, frames = self._lengths, self._frames
        while True:
            if not lengths:
                if end - at < 4:
                    break
                after = self._read_head(data, at)
                if not after:
                    break
                at, lengths = after, self._lengths
            while len(frames) < len(lengths):
                size = lengths[len(frames)]
                if end - at < size:
                    break
                frames.append(data[at : at + size])
                at += size
            if len(frames) < len(lengths):
                size = lengths[len(frames)]
                if size > CHUNK:
                    self._filling = memoryview(bytearray(size))
                    self._filling[: end - at] = data[at:]
                    self._filled = end - at
                    at = end
                break
            messages.append(frames)
            self._lengths = lengths = []
            self._frames = frames = []
        self._rest = data[at:]

    def _read_head(self, data: bytes, at: int) -> int:
        """Where the frames begin; 0 if the lengths are not there yet."""
        count, shared = _PREFIX.unpack_from(data, at)
        if not 0 < count <= MAX_FRAMES or shared:
            raise Broken("what came is no message of agentd")
        if len(data) - at < 4 + 8 * count:
            return 0
        head = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"<HH{count}Q")
        self._lengths = list(head.unpack_from(data, at)[2:])
        if sum(self._lengths) > self._most:
            raise Broken(f"a message of {sum(self._lengths):,} bytes; at most {self._most:,} pass")
        return at + head.size

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        self._outbox.clear()
        self.queued = 0
        self.socket.close()
