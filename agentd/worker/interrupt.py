"""Raising an exception in another thread, and only while that thread runs what is meant.

``PyThreadState_SetAsyncExc`` sets an exception that the thread raises at its next bytecode. It
could be late: the call has returned and the thread runs our own code, or the next call. So the flag
is set and cleared under a lock, and what is still pending at the end is cleared.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from agentd.errors import CallCancelled

__all__ = ["Interruptible"]

_set = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set.argtypes = [ctypes.c_ulong, ctypes.py_object]
_clear = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class Interruptible:
    """Runs one function, once, and may be told from another thread to stop it.

    Nearly none is told to. So its own thread takes no lock: it first says that it has begun (or
    ended), and then looks whether it was told; whoever tells it first says so, and then looks
    whether it runs. However these mix, one of the two sees the other, as each of these steps is one
    of the interpreter's (Dekker's algorithm).
    """

    __slots__ = ("_held", "_late", "_lock", "_raised", "_thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held while it is told; and protects the last two."""
        self._thread = 0
        self._raised = False
        self._held = 0  # how deep the thread is in code that must not be stopped
        self._late = False  # it was told to stop there

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``; raises ``CallCancelled`` if it was stopped."""
        try:
            try:
                self._thread = threading.get_ident()
                if self._raised:  # told to stop before it began
                    raise CallCancelled
                return function(*args)
            finally:
                self._thread = 0
                if self._raised:
                    self._take_back()
        finally:
            # Should the exception come while that is done: at most one ever comes.
            self._thread = 0

    def _take_back(self) -> None:
        with self._lock:  # whoever tells it has done so
            _clear(threading.get_ident(), None)

    def stop(self) -> None:
        """Raise ``CallCancelled`` in the thread that runs it, if one does."""
        with self._lock:
            if self._raised:
                return
            self._raised = True
            if self._held:
                self._late = True
            elif self._thread:
                _set(self._thread, ctypes.py_object(CallCancelled))

    def hold_off(self) -> bool:
        """Do not raise it from now on; False in a thread that this does not run."""
        with self._lock:
            if self._thread != threading.get_ident():
                return False
            self._held += 1
            return True

    def let_in(self) -> None:
        """Raise it from now on; at once, if it was told to stop meanwhile."""
        with self._lock:
            self._held -= 1
            late = self._late and not self._held
            if late:
                self._late = False
        if late:
            raise CallCancelled
