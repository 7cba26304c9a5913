"""Memory for long frames that is used again when its last user has let go of it.

A room is handed out as a view. Arrays made over it keep it, however many there are, and when the
last of them is gone it comes back here, still in the hands of this process: see ``memory.py`` for
what that saves. No more wait here than are to be kept (``kept.py``), for some seconds at most.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import threading
import time
import weakref
from collections import deque
from typing import Any, Final, NamedTuple

from agentd.transport.idle import tend
from agentd.transport.kept import limit

__all__ = ["PAGE", "Rooms"]

PAGE: Final = 2 * 1024 * 1024
"""A huge one."""


def _fresh(size: int) -> mmap.mmap:
    made = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # there are no huge pages
        made.madvise(mmap.MADV_HUGEPAGE)
    return made


class _Room(NamedTuple):
    memory: mmap.mmap
    size: int
    left: float
    """When its last user went."""


class Rooms:
    """From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the next two
        self._free: list[_Room] = []
        self._users: dict[int, weakref.ref[Any]] = {}
        self._back: deque[_Room] = deque()
        """Those that came back: whoever gives one back may hold any lock, ours included."""

    @property
    def kept(self) -> int:
        """Bytes that wait."""
        return sum(room.size for room in (*self._free, *self._back))

    def take(self, size: int) -> memoryview:
        """Memory of that size, with anything in it; raises ``OSError`` if there is none."""
        with self._lock:
            self._collect()
            # Much too large a one would have more of it wait for nothing.
            fit = [r for r in self._free if size <= r.size <= 2 * size]
            found = min(fit, key=lambda room: room.size, default=None)
            if found is not None:
                self._free.remove(found)
        if found is not None:
            return self._hand_out(found.memory, found.size, size)
        whole = -(-size // PAGE) * PAGE
        try:
            made = _fresh(whole)
        except OSError:  # this process may use no more, what is kept included
            self.let_go(math.inf)
            made = _fresh(whole)
        return self._hand_out(made, whole, size)

    def _hand_out(self, memory: mmap.mmap, whole: int, size: int) -> memoryview:
        user = (ctypes.c_char * size).from_buffer(memory)
        key = id(user)

        def gone(_ref: Any) -> None:
            self._users.pop(key, None)
            if whole + self.kept <= limit():
                self._back.append(_Room(memory, whole, time.monotonic()))

        self._users[key] = weakref.ref(user, gone)
        tend(self)
        return memoryview(user).cast("B")

    def _collect(self) -> None:
        while self._back:
            self._free.append(self._back.popleft())

    def let_go(self, before: float) -> bool:
        """Drop those that nobody wanted since; whether there are others, or some in use."""
        with self._lock:
            self._collect()
            self._free = [room for room in self._free if room.left >= before]
            return bool(self._free or self._users)

    def forget(self) -> None:
        """In a forked child: drop them all, and have those in use not come back."""
        self._lock = threading.Lock()
        self._free.clear()
        self._back.clear()
        self._users.clear()
