"""Messages on a stream socket: several frames each, whole or not at all.

    message  = frames (u16)  shared (u16)  length (u64) of each frame  place  bytes of the frames
    place    = block (u32)  number (u16) of each shared frame;  nothing where ``shared`` is 0
    little endian; the highest bit of a length, told to who shares: the frame is constant, as
    Python's ``bytes`` are

Frames that are shared are not among the bytes: they lie in a block of shared memory, one after the
other. What begins with 0 frames is about such blocks: see ``sharing.py``.

Small frames are written and read together, many messages in one system call; a long one is read
straight into the memory in which it stays (``memory.py``). What the socket does not take at once
waits in the *outbox*. Nothing here blocks, and nothing is thread-safe: see ``local.py``.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from agentd.transport.broken import Broken

if TYPE_CHECKING:
    from agentd.transport.blocks import Block
    from agentd.transport.sharing import Sharing

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

LONG: Final = 256 * 1024
"""From here on it is worth the while to take the memory for a frame in its final form, and to send
it by shared memory, where there is some."""
CONSTANT: Final = 1 << 63

_PREFIX: Final = struct.Struct("<HH")
_SIZES: Final = tuple(struct.Struct(f"<{count}Q") for count in range(9))
_HEADS: Final = tuple(struct.Struct(f"<HH{count}Q") for count in range(9))


def _snapshot(view: memoryview) -> memoryview:
    """A copy of what may change before it is sent."""
    if view.nbytes < LONG:
        return memoryview(bytes(view))
    from agentd.transport import memory

    copied, room = memory.changeable(view.nbytes)
    memory.copy(view, room)
    return copied.toreadonly()


class Wire:
    """One connected stream socket, made non-blocking."""

    __slots__ = (
        "_begins",
        "_constant",
        "_filled",
        "_filling",
        "_frames",
        "_held",
        "_kept",
        "_lengths",
        "_most",
        "_outbox",
        "_place",
        "_rest",
        "_shares",
        "_sharing",
        "queued",
        "replies",
        "socket",
    )

    def __init__(
        self, connected: socket.socket, most: int, *, shares: bool = False, begins: bool = False
    ) -> None:
        """``most``: bytes that one message may have.

        ``shares``: long ones may go by shared memory; ``begins``: this side speaks of that first.
        """
        connected.settimeout(0)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZES)
        self.socket = connected
        self._most = most
        self._outbox: deque[memoryview] = deque()
        self._held: list[bytes] = []
        """What follows that, short messages."""
        self.queued = 0
        """Bytes in both."""
        self._rest = b""
        """The beginning of something small that has not come whole."""
        self._lengths: list[int] = []  # of the message that comes in
        self._frames: list[Any] = []  # and those of its frames that are here
        self._shares = shares
        self._begins = shares and begins
        self._sharing: Sharing | None = None
        self.replies: list[bytes] = []
        """What ``reply`` has to send since the last ``receive``."""
        self._place: dict[int, Any] | None = None
        """Those that lay in shared memory, by number."""
        self._constant: tuple[int, ...] = ()  # of those, by number
        self._filling: memoryview | None = None
        self._filled = 0
        self._kept: Any = None
        """The frame whose memory is filled."""

    # -- out ---------------------------------------------------------------------------------------
    def send(self, frames: Sequence[Any], *, hold: bool = False) -> None:
        """Send them, or as much as the socket takes; the rest goes into the outbox.

        ``hold``: if they are short, all of them do, until ``flush`` or a message that is not held.
        Buffers that may change are copied if they have to wait. Raises ``Broken``.
        """
        sizes = [
            len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in frames
        ]
        count = len(sizes)
        head = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"<HH{count}Q")
        pieces: list[Any]
        if sum(sizes) < TOGETHER:
            together = b"".join((head.pack(count, 0, *sizes), *frames))
            if hold:
                self._held.append(together)
                self.queued += len(together)
                return
            if not self.queued:
                together = self._give(together)
                if not together:
                    return
            pieces = [together]
        else:
            if self._begins and max(sizes) >= LONG:
                self._begin()
            shared: Sequence[int] = ()
            place = b""
            block: Block | None = None
            if self._sharing is not None and self._sharing.ready:
                shared, block = self._put(frames, sizes)
                for n, frame in enumerate(frames):
                    if sizes[n] >= LONG and type(frame) is bytes:
                        sizes[n] |= CONSTANT
            if block is not None:
                place = struct.pack(f"<I{len(shared)}H", block.number, *shared)
            pieces = [head.pack(count, len(shared), *sizes) + place]
            pieces += (memoryview(f).cast("B") for n, f in enumerate(frames) if n not in shared)
            # Not held: they would be copied, and are better under way.
            self._leave(pieces)
            if block is not None:
                block.settle()
            return
        self._leave(pieces)

    def _put(
        self, frames: Sequence[Any], sizes: Sequence[int]
    ) -> tuple[Sequence[int], Block | None]:
        """Put the long ones into shared memory, if there is any: their numbers, and where."""
        assert self._sharing is not None
        long = [number for number, size in enumerate(sizes) if size >= LONG]
        if not long:
            return (), None
        block = self._sharing.place(frames, long)
        if block is not None:
            return long, block
        self._sharing.wants = True
        self._offer()
        return (), None

    def _begin(self) -> None:
        """Something long is to be sent: speak of shared memory, unless that was done."""
        sharing = self._share()
        if not sharing.expects:
            sharing.expect()
            sharing.wants = True
            self.reply()

    def _offer(self) -> None:
        if self._sharing is not None and not self.queued:  # else it could not be sent at once
            self._sharing.offer(self.socket)

    def reply(self) -> None:
        """Send what is to be said of shared memory, if anything. Raises ``Broken``."""
        said = b"".join(self.replies)
        self.replies.clear()
        if said:
            self._leave([said])
        self._offer()

    def _leave(self, pieces: list[Any]) -> None:
        """Send them, or have them wait."""
        if not self.queued or self.flush():
            pieces = self._write(pieces)
        for piece in pieces:
            view = memoryview(piece)
            if view.nbytes:
                self._outbox.append(view if view.readonly else _snapshot(view))
                self.queued += view.nbytes

    def flush(self) -> bool:
        """Send what waits; whether nothing does any more. Raises ``Broken``."""
        if self._held:
            self._outbox.append(memoryview(b"".join(self._held)))
            self._held.clear()
        while self._outbox:
            batch = [self._outbox.popleft() for _ in range(min(PIECES, len(self._outbox)))]
            left = self._write(batch)
            self._outbox.extendleft(reversed(left))
            self.queued = sum(piece.nbytes for piece in self._outbox)
            if left:
                return False
        self._offer()
        return True

    def untaken(self) -> int:
        """Bytes, about, that the kernel has and the other side has not read yet."""
        return int.from_bytes(
            fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )

    def _give(self, piece: bytes) -> bytes:
        """Give something short to the kernel; what it does not take."""
        try:
            return piece[self.socket.send(piece) :]
        except BlockingIOError:
            return piece
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None

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
                    sharing = self._sharing
                    if sharing is None or not sharing.expects:
                        data = self.socket.recv(CHUNK)
                    else:
                        data = sharing.receive(self.socket, CHUNK)
                    got = len(data)
                    if got:
                        self._parse(self._rest + data if self._rest else data, messages)
                    if sharing is not None:
                        sharing.check(self._rest)
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
            self._filling = None
            self._frames.append(self._kept)
            self._kept = None
            self._parse(b"", messages)

    def _parse(self, data: bytes, messages: list[list[Any]]) -> None:
        """Take apart what came; a long frame that is not whole yet is filled later."""
        at, end = 0, len(data)
        lengths, frames = self._lengths, self._frames
        while True:
            if not lengths:
                if end - at < 4:
                    break
                after = self._cut(data, at, end, messages)
                if after:
                    at = after
                    continue
                after = self._read_head(data, at)
                if not after:
                    break
                at, lengths = after, self._lengths
                if not lengths:  # it was about shared memory
                    continue
            while len(frames) < len(lengths):
                if self._place and len(frames) in self._place:
                    frames.append(self._place.pop(len(frames)))
                    continue
                size = lengths[len(frames)]
                if end - at < size:
                    break
                frames.append(data[at : at + size])
                at += size
            if len(frames) < len(lengths):
                size = lengths[len(frames)]
                if size > CHUNK:
                    self._kept, self._filling = self._room(size, len(frames))
                    self._filling[: end - at] = data[at:]
                    self._filled = end - at
                    at = end
                break
            messages.append(frames)
            self._lengths = lengths = []
            self._frames = frames = []
        self._rest = data[at:]

    def _cut(self, data: bytes, at: int, end: int, messages: list[list[Any]]) -> int:
        """Take a message that is here as a whole, as nearly all short ones are; where it ends.

        0 if it is none of those: ``_read_head`` tells what it is.
        """
        count, shared = _PREFIX.unpack_from(data, at)
        if shared or not 0 < count < len(_SIZES):
            return 0
        form = _SIZES[count]
        at += _PREFIX.size
        if at + form.size > end:
            return 0
        sizes = form.unpack_from(data, at)
        at += form.size
        total = sum(sizes)
        if at + total > end or total > self._most:
            return 0
        frames = []
        for size in sizes:
            frames.append(data[at : at + size])
            at += size
        messages.append(frames)
        return at

    def _room(self, size: int, number: int) -> tuple[Any, memoryview]:
        """Memory for that frame, and where to fill it."""
        if size < LONG:
            room = memoryview(bytearray(size))
            return room, room
        from agentd.transport import memory  # who gets nothing long does without

        if self._begins and size >= LONG:
            self._share().expect()
        return (memory.constant if number in self._constant else memory.changeable)(size)

    def _read_head(self, data: bytes, at: int) -> int:
        """Where the frames begin; 0 if the lengths are not there yet."""
        count, shared = _PREFIX.unpack_from(data, at)
        if not count and self._shares:
            return self._hear(data, at)
        if not 0 < count <= MAX_FRAMES or (shared and (self._sharing is None or shared > count)):
            raise Broken("what came is no message of agentd")
        head = _HEADS[count] if count < len(_HEADS) else struct.Struct(f"<HH{count}Q")
        if len(data) - at < head.size:
            return 0
        lengths = list(head.unpack_from(data, at)[2:])
        self._constant = ()
        if sum(lengths) > self._most:
            lengths = self._unmarked(lengths)
        at += head.size
        if shared:
            at = self._fetch(data, at, shared, lengths)
            if not at:
                return 0
        self._lengths = lengths
        return at

    def _unmarked(self, marked: list[int]) -> list[int]:
        """The lengths without the bits that are none, which make any of them too long."""
        lengths = [length & ~CONSTANT for length in marked]
        self._constant = tuple(n for n, length in enumerate(marked) if length & CONSTANT)
        if sum(lengths) > self._most:
            raise Broken(f"a message of {sum(lengths):,} bytes; at most {self._most:,} pass")
        return lengths

    # -- shared memory -----------------------------------------------------------------------------
    def _share(self) -> Sharing:
        if self._sharing is None:
            from agentd.transport.sharing import Sharing

            self._sharing = Sharing(self.replies)
        return self._sharing

    def _hear(self, data: bytes, at: int) -> int:
        """Take what is said of it at ``at``; where that ends, or 0 if it is not all there."""
        return self._share().hear(data, at)

    def _fetch(self, data: bytes, at: int, count: int, lengths: list[int]) -> int:
        """Take the frames that lie in it; where the bytes of the others begin, or 0."""
        form = struct.Struct(f"<I{count}H")
        if len(data) - at < form.size:
            return 0
        block, *numbers = form.unpack_from(data, at)
        assert self._sharing is not None  # as _read_head saw
        if numbers != sorted(set(numbers)) or numbers[-1] >= len(lengths):
            raise Broken("what came is no message of agentd")
        self._place = self._sharing.take(block, numbers, lengths, self._constant)
        return at + form.size

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        self._outbox.clear()
        self._held.clear()
        self.queued = 0
        self.socket.close()
        self.part()

    def part(self) -> None:
        """Let go of shared memory: the connection has ended."""
        if self._sharing is not None:
            self._sharing.close()
