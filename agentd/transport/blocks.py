"""One block of shared memory: ``Block`` is its sender's side of it, ``Mapped`` its receiver's.

    file  = a page, whose first byte is 1 while the content is in use  content
    a memfd of fixed size; what was never written takes no memory

It has no name: it goes with the last process that has it, however that one ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from typing import Final

from agentd.transport.memory import STEP, copy

__all__ = ["HEAD", "MOST", "Block", "Mapped", "Unfit"]

PAGE: Final = mmap.PAGESIZE
HEAD: Final = PAGE
MOST: Final = 1024**3
"""Bytes of content of one block, at most."""
MADV_POPULATE_WRITE: Final = 23
"""Which Python has no name for; see madvise(2)."""
_FREE: Final = 0
_IN_USE: Final = 1
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Unfit(Exception):
    """What a peer offers is no block."""


class Block:
    """Not thread-safe: see ``Pool``."""

    def __init__(self, number: int, size: int) -> None:
        """Raises ``OSError`` where the system has none to give."""
        self.number = number
        self.size = size
        self.resident = 0
        """Bytes of the content that take memory."""
        self._mapped = 0
        """As many as can be written here without a fault, of those."""
        self.charged = 0
        """As many as were to be filled since it was empty, at most."""
        self.taken = False
        """The peer has it, and said so."""
        self.used = time.monotonic()
        self._fd = os.memfd_create("agentd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, HEAD + size)
            # Who maps it may rely on its size: a file that shrinks kills who reads it (SIGBUS).
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
            self._map = mmap.mmap(self._fd, HEAD + size)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """Its descriptor, to be passed on."""
        return self._fd

    @property
    def free(self) -> bool:
        """Whether the peer has taken what was in it."""
        return self._map[0] == _FREE

    def reserve(self) -> None:
        """It is about to be filled."""
        self._map[0] = _IN_USE
        self.used = time.monotonic()

    def give_back(self) -> None:
        """It is not needed after all."""
        self._map[0] = _FREE

    def fill(self, views: Sequence[memoryview]) -> None:
        """Put them in, one after the other; raises ``OSError`` if there is no memory for them."""
        at = HEAD
        with memoryview(self._map) as content:
            for view in views:
                # Pages that are not there yet are written to the file: by that way they cost half,
                # and to have none is an error, not a signal.
                warm = max(0, min(len(view), HEAD + self.resident - at))
                copy(view[:warm], content[at : at + warm])
                done = warm
                while done < len(view):
                    done += os.pwrite(self._fd, view[done:], at + done)
                at += len(view)
        self.resident = max(self.resident, at - HEAD)

    def settle(self) -> None:
        """Map what was written to the file, while the peer reads it: the next one is written there.

        Page by page, as they are written to, that takes a third longer, and whoever waits for it.
        """
        with contextlib.suppress(OSError):  # Linux is older than 5.14: then page by page
            for at in range(self._mapped // PAGE * PAGE, self.resident, STEP):
                size = min(STEP, self.resident - at)
                self._map.madvise(MADV_POPULATE_WRITE, HEAD + at, size)
        self._mapped = self.resident

    def empty(self) -> None:
        """Give its memory back to the system; it stays, and may be filled again."""
        self._map.madvise(mmap.MADV_REMOVE, HEAD, self.size)
        self.resident = self._mapped = 0

    def close(self) -> None:
        """Let go of it. What the peer has not taken yet is there for it still."""
        self._map.close()
        os.close(self._fd)


class Mapped:
    """A block of a peer. Whatever that peer does, reading here does not fail."""

    def __init__(self, fd: int, size: int) -> None:
        """It owns the descriptor, also if it raises: ``Unfit``, or ``OSError`` for want of room."""
        self._fd = fd
        self.size = size
        try:
            _check(fd, size)
            self._map = mmap.mmap(fd, HEAD + size, mmap.MAP_SHARED, mmap.PROT_READ)
        except BaseException:
            os.close(fd)
            raise

    def read(self, at: int, room: memoryview) -> None:
        """Copy what is there at ``at``, within the size."""
        with memoryview(self._map) as content:
            copy(content[HEAD + at : HEAD + at + len(room)], room)

    def give_back(self) -> None:
        """All was read: its owner may use it again."""
        os.pwrite(self._fd, bytes((_FREE,)), 0)

    def close(self) -> None:
        """Let go of it."""
        self._map.close()
        os.close(self._fd)


def _check(fd: int, size: int) -> None:
    if not 0 < size <= MOST:
        raise Unfit(f"a block of {size:,} bytes")
    if os.fstat(fd).st_size != HEAD + size:
        raise Unfit("a block is not as long as was said")
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    except OSError:
        raise Unfit("a block is no memfd") from None
    if not sealed:
        raise Unfit("a block could shrink")
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
        raise Unfit("a block cannot be given back")
