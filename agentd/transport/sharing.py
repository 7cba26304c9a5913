"""What two sides of a connection within a host say of shared memory, and who has which block.

    ready    = 0 (u16)  1 (u16)                              descriptors are read from now on
    offer    = 0 (u16)  2 (u16)  block (u32)  size (u64)     with one descriptor
    taken    = 0 (u16)  3 (u16)  block (u32)
    refused  = 0 (u16)  4 (u16)  block (u32)                 nor will others be taken

Nobody offers anything before ``ready``, as a descriptor is lost where none is expected. Who made
the connection says that first, when something long is sent or comes; the other side answers with
the same. Who does not know of shared memory never hears of it. A block carries messages once it
was ``taken``. So the first long message of a connection goes as all others do: for one alone, fresh
pages would cost more.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

from agentd.transport import memory
from agentd.transport.blocks import Block, Mapped, Unfit
from agentd.transport.broken import Broken
from agentd.transport.pool import MOST_BLOCKS, Budget, Pool

__all__ = ["READY", "Sharing"]

READY: Final = struct.pack("<HH", 0, 1)
_OFFER: Final = 2
_TAKEN: Final = 3
_REFUSED: Final = 4
_ANSWER: Final = struct.Struct("<HHI")
_OFFERED: Final = struct.Struct("<HHIQ")
_OFFER_START: Final = struct.pack("<HH", 0, _OFFER)
_RIGHTS: Final = socket.CMSG_LEN(array.array("i").itemsize)
"""Room for one descriptor, and no more."""

received: Final = Budget()
"""Of this process, for what it is sent: how many blocks."""
os.register_at_fork(after_in_child=received.__init__)  # type: ignore[misc]


class Sharing:
    """One side of one connection. Not thread-safe: sending and receiving have nothing in common."""

    def __init__(self, replies: list[bytes]) -> None:
        """``replies`` is where it puts what is to be sent; nothing, if only to be asked to."""
        self.expects = False
        """``ready`` was said: descriptors may come."""
        self.ready = False
        """The peer said it: blocks may be offered."""
        self.wants = False
        """Something long was sent, and there was no block for it."""
        self._replies = replies
        self._pool = Pool()
        self._mapped: dict[int, Mapped] = {}
        self._fds: list[int] = []
        self._had_no_room = False
        self._refused = False

    # -- out ---------------------------------------------------------------------------------------
    def place(self, frames: Sequence[Any], numbers: Sequence[int]) -> Block | None:
        """Copy those frames into a block; ``None`` if there is none for them.

        It is to be settled when that is told.
        """
        views = [memoryview(frames[number]).cast("B") for number in numbers]
        block = self._pool.take(sum(map(len, views)))
        if block is None:
            return None
        try:
            block.fill(views)
        except OSError:
            self._pool.failed(block)
            return None
        return block

    def offer(self, to: socket.socket) -> None:
        """Offer another block, if that is of use and it can be sent at once."""
        if not (self.ready and self.wants):
            return
        self.wants = False
        block = self._pool.offer()
        if block is None:
            return
        told = _OFFERED.pack(0, _OFFER, block.number, block.size)
        rights = array.array("i", [block.fileno()])
        try:
            sent = to.sendmsg([told], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:  # the peer is behind, or too many descriptors are on their way
            self._pool.withdraw()
            return
        if sent < len(told):
            raise Broken("an offer was sent in part")

    # -- in ----------------------------------------------------------------------------------------
    def expect(self) -> None:
        """Tell the peer that descriptors are read from now on."""
        if not self.expects:
            self.expects = True
            self._replies.append(READY)

    def receive(self, connected: socket.socket, most: int) -> bytes:
        """``recv``, for a socket that may bring a descriptor."""
        data, about, flags, _address = connected.recvmsg(most, _RIGHTS, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in about:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds.extend(fds)
        if flags & socket.MSG_CTRUNC:
            if about:
                raise Broken("more descriptors came than one")
            self._had_no_room = True  # this process has none left
        return data

    def check(self, rest: bytes) -> None:
        """All that came was read but ``rest``: a descriptor belongs to an offer."""
        if self._fds and not (rest and _OFFER_START.startswith(rest[: len(_OFFER_START)])):
            raise Broken("a descriptor came without an offer")

    def hear(self, data: bytes, at: int) -> int:
        """Take what is said at ``at``; where it ends, or 0 if it is not all there."""
        what = int.from_bytes(data[at + 2 : at + 4], "little")
        if what == READY[2]:
            self.ready = True
            self.expect()
            if self.wants:
                self._replies.append(b"")
            return at + len(READY)
        form = _OFFERED if what == _OFFER else _ANSWER
        if what not in (_OFFER, _TAKEN, _REFUSED):
            raise Broken("what came is no message of agentd")
        if len(data) - at < form.size:
            return 0
        if what == _OFFER:
            _none, _what, number, size = form.unpack_from(data, at)
            taken = self._take(number, size)
            self._replies.append(_ANSWER.pack(0, _TAKEN if taken else _REFUSED, number))
        else:
            _none, _what, number = form.unpack_from(data, at)
            if not self._pool.answered(number, taken=what == _TAKEN):
                raise Broken("an answer came to what was not offered")
        return at + form.size

    def _take(self, number: int, size: int) -> bool:
        """A block is offered; False if there is no room for it here."""
        if not self._fds and not self._had_no_room:
            raise Broken("an offer came without its descriptor")
        if self._refused or number in self._mapped or len(self._mapped) >= MOST_BLOCKS:
            raise Broken("a block came twice, or one too many")
        self._refused = not self._map(number, size)
        return not self._refused

    def _map(self, number: int, size: int) -> bool:
        if not self._fds:
            return False
        fd = self._fds.pop()
        if not received.one_more():
            os.close(fd)
            return False
        try:
            self._mapped[number] = Mapped(fd, size)
        except Unfit as error:
            received.one_less()
            raise Broken(str(error)) from None
        except OSError:
            received.one_less()
            return False
        return True

    def take(
        self, block: int, numbers: Sequence[int], lengths: Sequence[int], constant: Sequence[int]
    ) -> dict[int, Any]:
        """Those frames of a message, copied out of the block, which is free again then."""
        mapped = self._mapped.get(block)
        if mapped is None:
            raise Broken("a message is in a block that was not offered")
        if sum(lengths[number] for number in numbers) > mapped.size:
            raise Broken("a message is longer than its block")
        found: dict[int, Any] = {}
        at = 0
        for number in numbers:
            length = lengths[number]
            make = memory.constant if number in constant else memory.changeable
            found[number], room = make(length)
            mapped.read(at, room)
            at += length
        try:
            mapped.give_back()
        except OSError as error:
            raise Broken(f"a block cannot be given back: {error.strerror}") from None
        return found

    def close(self) -> None:
        """The connection has ended."""
        self._pool.close()
        mapped, self._mapped = self._mapped, {}
        for block in mapped.values():
            with contextlib.suppress(BufferError):  # it is being read: it goes with who reads
                block.close()
            received.one_less()
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
