"""Long bytes that are filled again when nobody else has them any more.

CPython takes the memory of bytes from ``malloc``, and glibc gives what is longer than 32 MiB back
to the system each time. So a program that is sent such values pays for fresh memory each time: ten
times what copying into it costs, on a virtual machine whose host takes back what is free. Nobody is
told that bytes are gone, as of a room (``rooms.py``). So they are kept here, and the next time
their references are counted: is this the only one, nobody can see that they are written to.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from agentd.transport.idle import tend
from agentd.transport.kept import limit

__all__ = ["FROM", "Constants", "where"]

FROM: Final = 32 * 1024 * 1024
"""What is not longer glibc keeps itself (``DEFAULT_MMAP_THRESHOLD_MAX``)."""
_HASH: Final = ctypes.sizeof(ctypes.c_ssize_t)
"""Bytes that their hash takes, once somebody asked for it; it lies before the content."""

where: Any = ctypes.pythonapi.PyBytes_AsString
where.restype = ctypes.c_void_p
where.argtypes = [ctypes.py_object]


class _Known(NamedTuple):
    value: bytes
    used: float
    """When they were last handed out."""


class Constants:
    """From any thread."""

    def __init__(self, others: Callable[[], int] = lambda: 0) -> None:
        """``others``: bytes that wait elsewhere, and count as kept, too."""
        self._others = others
        self._lock = threading.Lock()  # protects the next
        self._known: list[_Known] = []
        self._alone = self._references_of_one_that_is_alone() if _can_be_written() else 0

    def _references_of_one_that_is_alone(self) -> int:
        self._known.append(_Known(bytes(1000), 0.0))
        found = self._references(0)
        self._known.clear()
        return found

    def _references(self, number: int) -> int:
        return sys.getrefcount(self._known[number].value)

    @property
    def kept(self) -> int:
        """Bytes of those that are known, in use or not."""
        return sum(len(known.value) for known in self._known)

    def take(self, size: int) -> bytes | None:
        """Some of that size that nobody else has, with anything in them, to be written."""
        with self._lock:
            for number, known in enumerate(self._known):
                if len(known.value) != size:
                    continue
                del known  # it counts
                if self._references(number) <= self._alone:
                    value = self._known.pop(number).value
                    self._known.append(_Known(value, time.monotonic()))
                    ctypes.c_ssize_t.from_address(where(value) - _HASH).value = -1
                    tend(self)
                    return value
        return None

    def add(self, value: bytes) -> None:
        """Keep these for the next time, and rather than the oldest."""
        size = len(value)
        if not self._alone or size <= FROM:
            return
        with self._lock:
            while self._known and size + self.kept + self._others() > limit():
                del self._known[0]
            if size + self.kept + self._others() > limit():
                return
            self._known.append(_Known(value, time.monotonic()))
        tend(self)

    def let_go(self, before: float) -> bool:
        """Drop those that nobody wanted since; whether there are others."""
        with self._lock:
            self._known = [known for known in self._known if known.used >= before]
            return bool(self._known)

    def forget(self) -> None:
        """In a forked child: drop them all."""
        self._lock = threading.Lock()
        self._known.clear()


def _can_be_written() -> bool:
    """Whether references are counted here as they were always, and bytes are laid out so."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    probe = bytes(range(100))
    place = ctypes.c_ssize_t.from_address(where(probe) - _HASH)
    return place.value == -1 and hash(probe) == place.value
