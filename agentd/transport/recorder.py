"""A flight recorder: which agents a worker was running when it died.

A file mapped into the worker's memory, one slot of 16 bytes (an agent's id) for each running call.
Writing a slot is a memory copy, and the kernel keeps the page when the process is killed, so the
daemon can read afterwards whom to charge with the death and whom to let off. Behind the slots are
what the worker counts at its own sockets, which the daemon shows without asking it.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

from agentd.transport.counted import Counted

__all__ = ["Recorder", "counted", "create", "running"]

SLOT: Final = 16
SLOTS: Final = 4096
"""Calls recorded at once; one beyond that runs unrecorded and is not charged."""
_FREE: Final = bytes(SLOT)
_COUNTS: Final = struct.Struct(f"<{len(Counted._fields)}Q")
_SIZE: Final = SLOT * SLOTS + _COUNTS.size
MOST: Final = 2**53
"""No counter is shown as more: a worker may write there what it likes."""


def create(path: str) -> int:
    """Make the file, for the daemon's user alone; its descriptor, to be handed to the worker.

    A descriptor, since the worker may run as a user who cannot reach the path.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        os.ftruncate(fd, _SIZE)
    except OSError:
        os.close(fd)
        raise
    return fd


class Recorder:
    """The worker's side."""

    def __init__(self, fd: int) -> None:
        """Map the file behind the descriptor, which is closed then."""
        try:
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        # Taken from and given back to by any thread: both are one step each.
        self._free = list(range(SLOTS - 1, -1, -1))

    def enter(self, agent: bytes) -> int:
        """The agent runs now; the slot to give to ``leave`` (-1: none was free)."""
        try:
            slot = self._free.pop()
        except IndexError:
            return -1
        at = slot * SLOT
        self._map[at : at + SLOT] = agent
        return slot

    def leave(self, slot: int) -> None:
        """It does not any more."""
        if slot >= 0:
            at = slot * SLOT
            self._map[at : at + SLOT] = _FREE
            self._free.append(slot)

    def count(self, counted: Counted) -> None:
        """What was counted up to now."""
        _COUNTS.pack_into(self._map, SLOT * SLOTS, *counted)


def counted(path: str) -> Counted:
    """What a worker has counted, by its record; nothing if it left none."""
    try:
        with open(path, "rb") as record:
            record.seek(SLOT * SLOTS)
            return Counted(*(min(n, MOST) for n in _COUNTS.unpack(record.read(_COUNTS.size))))
    except (OSError, struct.error):
        return Counted()


def running(path: str) -> set[bytes]:
    """The agents that were running, by the record a worker left; empty if it left none."""
    try:
        with open(path, "rb") as record:
            data = record.read(SLOT * SLOTS)
    except OSError:
        return set()
    slots = {data[at : at + SLOT] for at in range(0, len(data), SLOT)}
    return slots - {_FREE}
