"""The grants that hold now: read again when their files change, swapped in one step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from agentd.keys.reading import Reading
from agentd.protocol.access import Grant, admin_grant

__all__ = ["GrantBook"]


class GrantBook:
    """Who may come in now.

    ``look`` belongs to one thread and ``take`` to another; the rest may be asked from any.
    """

    def __init__(self, folder: str | None, clock: Callable[[], float] = time.time) -> None:
        """``folder``: the config folder; ``None`` for a daemon that serves its own user only."""
        self._folder = folder
        self._clock = clock
        self._own = admin_grant(f"uid:{os.geteuid()}")
        self._reading = Reading()
        self._mark: object = None
        self._valid: frozenset[str] = frozenset()
        self.refresh()

    @property
    def alarms(self) -> tuple[str, ...]:
        """What was left out when the files were last read."""
        return self._reading.alarms

    @property
    def keys(self) -> int:
        """How many keys are let in now."""
        return sum(self.grant_of(who) is not None for who in self._reading.keys.values())

    @property
    def others(self) -> bool:
        """Whether users other than the daemon's own are let in."""
        return any(who.startswith("uid:") for who in self._valid)

    def grant_of(self, who: str) -> Grant | None:
        """What that peer may do; ``None``: nothing (any more)."""
        if who == self._own.who:
            return self._own
        grant = self._reading.grants.get(who)
        if grant is None or (grant.expires is not None and grant.expires <= self._clock()):
            return None
        return grant

    @property
    def reading(self) -> Reading:
        """What is in force, with what has expired meanwhile."""
        return self._reading

    def who_has(self, key: bytes) -> str | None:
        """The name of the peer with that public key, if it is let in."""
        who = self._reading.keys.get(key)
        return who if who is not None and self.grant_of(who) is not None else None

    def refresh(self, *, always: bool = False) -> frozenset[str]:
        """``look`` and ``take`` in one, for who has but one thread."""
        return self.take(self.look(always=always))

    def look(self, *, always: bool = False) -> Reading | None:
        """What the files say, if they changed or ``always``; else ``None``. Puts nothing in force.

        Takes as long as the disk does, and about 0.1 ms for each file that is read.
        """
        if self._folder is None:
            return None
        from agentd.keys.grants import authorized_folder, read_grants

        mark = _mark(authorized_folder(self._folder))
        if always or mark != self._mark or mark is None:
            self._mark = mark
            return read_grants(self._folder)
        return None

    def take(self, reading: Reading | None) -> frozenset[str]:
        """Put in force what was read (``None``: nothing new); those whose grant is gone or over."""
        if reading is not None:
            self._reading = reading
        before = self._valid
        self._valid = frozenset(w for w in self._reading.grants if self.grant_of(w) is not None)
        return before - self._valid


def _mark(place: str) -> object:
    """Differs when a file does; ``None`` where that cannot be told."""
    try:
        above = os.stat(os.path.dirname(place))
        files = [(e.name, *_mark_of(e.stat(follow_symlinks=False))) for e in os.scandir(place)]
        return above.st_mode, above.st_uid, _mark_of(os.stat(place)), sorted(files)
    except OSError:
        return None


def _mark_of(found: os.stat_result) -> tuple[int, ...]:
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_ino, *times, found.st_size, found.st_mode, found.st_uid)
