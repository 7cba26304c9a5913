"""Memory for a long frame: taken once, in the form in which the frame is handed on.

Fresh memory is dear: the kernel clears it page by page, 64 MiB in 40 ms on a virtual machine, four
times what copying them takes; in huge pages it is 4 ms. glibc gives what is longer than 32 MiB back
at once and does not ask for huge pages, so this is done here (numpy does it for its own arrays).
Where the system has none, all goes on as before.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from typing import Any, Final

from agentd.transport.constants import FROM, Constants, where
from agentd.transport.rooms import PAGE, Rooms

__all__ = ["HUGE_FROM", "changeable", "constant", "constants", "copy", "rooms"]

HUGE_FROM: Final = 4 * 1024 * 1024
"""Less is cheaper in ordinary pages: allocators keep it."""
STEP: Final = 1024 * 1024
"""Copied at once: Python's other threads do not wait longer than that takes."""
_WRITABLE: Final = 0x200  # PyBUF_WRITE

rooms: Final = Rooms()
"""Of this process."""
constants: Final = Constants(lambda: rooms.kept)
"""The same."""
for _keeper in (rooms, constants):
    os.register_at_fork(after_in_child=_keeper.forget)

# The documented way to make bytes in place: fresh ones, which nobody else has seen, may be written.
_make: Any = ctypes.pythonapi.PyBytes_FromStringAndSize
_make.restype = ctypes.py_object
_make.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t]
_view: Any = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_madvise: Any = ctypes.CDLL(None).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def constant(size: int) -> tuple[bytes, memoryview]:
    """Bytes that nobody has, and a view to fill them through before anybody else gets them.

    The view does not keep them: it must not outlive them.
    """
    known = constants.take(size) if size > FROM else None
    if known is not None:
        return known, _view(where(known), size, _WRITABLE)
    try:
        made = _make(None, size)
    except MemoryError:  # this process may use no more, what is kept included
        constants.let_go(math.inf)
        rooms.let_go(math.inf)
        made = _make(None, size)
    constants.add(made)
    start = where(made)
    if size >= HUGE_FROM:
        first = -(-start // PAGE) * PAGE
        _madvise(first, (start + size) // PAGE * PAGE - first, mmap.MADV_HUGEPAGE)
    return made, _view(start, size, _WRITABLE)


def changeable(size: int) -> tuple[memoryview, memoryview]:
    """Memory that its user may write to, twice: to keep, and to fill."""
    found = _room(size) if size >= HUGE_FROM else memoryview(bytearray(size))
    return found, found


def _room(size: int) -> memoryview:
    try:
        return rooms.take(size)
    except OSError:  # no memory: this says so as usual
        return memoryview(bytearray(size))


def copy(source: memoryview, target: Any) -> None:
    """Copy ``source`` to ``target``, a view of as many bytes."""
    for at in range(0, len(source), STEP):
        target[at : at + STEP] = source[at : at + STEP]
