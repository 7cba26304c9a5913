"""Be told by the kernel, with ``SIGIO``, that a file of a folder has come, gone or changed.

``fcntl(2)``, ``F_NOTIFY``. A folder on a network's file system tells of what is done on this host
only, and one that is made anew is followed from the next look on: so it is for being early alone.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Final

__all__ = ["FolderNotice"]

_KINDS: Final = (
    fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MODIFY | fcntl.DN_ATTRIB
)


class FolderNotice:
    """Of one folder; ``SIGIO`` must have a handler before, as it ends a process that has none."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fd = -1

    def follow(self) -> None:
        """From now on, if the folder is there; nothing to do while it is the same as before."""
        with suppress(OSError):  # it is looked at without being told, too
            if self._fd < 0 or not os.path.samestat(os.fstat(self._fd), os.stat(self._folder)):
                fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self.close()
                self._fd = fd
                fcntl.fcntl(fd, fcntl.F_NOTIFY, _KINDS | fcntl.DN_MULTISHOT)

    def close(self) -> None:
        """Be told no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
