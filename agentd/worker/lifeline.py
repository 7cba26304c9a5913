"""A worker must not outlive its daemon, whatever happens to either.

The daemon holds the other end of a pipe and never writes to it again. When the daemon dies, by
``kill -9`` too, a thread here sees the end of the pipe, clears away the daemon's sockets and folder
(nobody else is left to do it) and ends the whole process group. Should the interpreter be stuck in
C code that holds its lock, the kernel does it: parent-death signal, whose handler is libc's own
``alarm``, called with the signal's number 3; three seconds later SIGALRM ends the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Sequence
from typing import Final

from agentd.transport import rundir

__all__ = ["hold"]

DEATH_MS: Final = 2000
"""How long a daemon that closed its end of the pipe may take to be gone."""
PR_SET_PDEATHSIG: Final = 1
DEATH_SIGNAL: Final = signal.SIGQUIT  # number 3: the seconds ``alarm`` is given


def hold(fd: int, parent: int, folder: str, sockets: Sequence[str]) -> None:
    """Tie this process to the pipe ``fd`` and to the process ``parent``."""
    try:
        daemon = os.pidfd_open(parent)
    except OSError:  # it died already, or there is no descriptor to be had
        daemon = -1
    watch = threading.Thread(
        target=_watch, args=(fd, daemon, folder, sockets), name="agentd-lifeline", daemon=True
    )
    watch.start()
    _ask_kernel()
    if os.getppid() != parent:  # it died before the kernel was asked
        _end(daemon, folder, sockets)


def _ask_kernel() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(int(DEATH_SIGNAL), ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(PR_SET_PDEATHSIG, int(DEATH_SIGNAL), 0, 0, 0)


def _watch(fd: int, daemon: int, folder: str, sockets: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        while os.read(fd, 1):
            pass
    _end(daemon, folder, sockets)


def _end(daemon: int, folder: str, sockets: Sequence[str]) -> None:
    if daemon >= 0:
        # The kernel closes a dying process's descriptors one by one, this pipe before the locks
        # and sockets that are to be cleared away; the pidfd tells when all of them are.
        done = select.poll()
        done.register(daemon, select.POLLIN)
        done.poll(DEATH_MS)
    for path in sockets:
        rundir.remove_socket(path)
    rundir.remove_folder(folder)
    os.killpg(0, signal.SIGKILL)
