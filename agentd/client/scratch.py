"""A private folder of this process for what it downloads; it goes when the process goes.

A process that is killed removes nothing, so each one holds a lock on its folder, and the next one
that makes a folder removes those that nobody holds.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import threading
from typing import Final, NamedTuple

__all__ = ["new_folder"]

PREFIX: Final = "agentd-files-"


class _Folder(NamedTuple):
    pid: int
    path: str


_mine: _Folder | None = None
_lock = threading.Lock()  # protects it


def new_folder() -> str:
    """An empty folder, 0700, there until this process ends. A forked child has its own."""
    import tempfile

    global _mine  # noqa: PLW0603 - one per process is what it is for
    with _lock:
        if _mine is None or _mine.pid != os.getpid() or not os.path.isdir(_mine.path):
            _sweep(tempfile.gettempdir())
            _mine = _Folder(os.getpid(), _make())
            atexit.register(_remove, _mine)
        return tempfile.mkdtemp(dir=_mine.path)


def _make() -> str:
    import tempfile

    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        # Another process may have found it unheld just now, and removes it: then another one.
        if _hold(path) is not None and os.path.isdir(path):
            return path


def _hold(path: str) -> int | None:
    """Lock the folder for as long as the descriptor is open; ``None`` if it is not to be had."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _sweep(base: str) -> None:
    """Remove the folders of processes that were killed."""
    import shutil

    with os.scandir(base) as found:
        paths = [
            entry.path
            for entry in found
            if entry.name.startswith(PREFIX)
            and entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        ]
    for path in paths:
        fd = _hold(path)
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def _remove(folder: _Folder) -> None:
    import shutil

    if folder.pid == os.getpid():
        shutil.rmtree(folder.path, ignore_errors=True)
