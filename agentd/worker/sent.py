"""Large answers on their way to clients of this host, kept until those have read them.

An answer is kept in case its connection breaks before it arrives (``recent``). Within a host the
kernel tells what the other side has taken: so a large one need not be kept for longer than that,
and the next one finds its memory warm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["LARGE_BYTES", "Sent"]

LARGE_BYTES: Final = 64 * 1024
"""Of smaller ones as many as are kept take less memory than asking the kernel takes time."""


class Sent:
    """By connection: the keys of calls that were answered. From any thread."""

    def __init__(self, has_read: Callable[[bytes], bool], arrived: Callable[[bytes], None]) -> None:
        """``has_read``: whether the other side of a route has taken all that was sent there.

        ``arrived``: called with the key of a call whose answer it has.
        """
        self._has_read = has_read
        self._arrived = arrived
        self._keys: dict[bytes, list[bytes]] = {}

    def note(self, route: bytes, key: bytes) -> None:
        """A large answer has been sent there."""
        self._keys.setdefault(route, []).append(key)

    def look(self, route: bytes) -> None:
        """Something came from there: a good moment to see what it has read."""
        if not self._keys:
            return
        # First: what is noted from here on may have been sent after it was asked what is read.
        keys = self._keys.pop(route, None)
        if keys is None:
            return
        if self._has_read(route):
            for key in keys:
                self._arrived(key)
        else:
            self._keys.setdefault(route, []).extend(keys)

    def lost(self, route: bytes) -> None:
        """That connection has ended, and its client may ask again."""
        self._keys.pop(route, None)
