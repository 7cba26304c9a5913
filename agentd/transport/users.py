"""Users of this host, and whether this process may start another one as them."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from typing import Final

from agentd.errors import ConfigError

__all__ = ["NEEDED", "User", "capabilities", "group_names", "other_user"]

NEEDED: Final = {"CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}
"""What it takes to start a process as somebody else, and to end it: names and numbers of
capabilities(7). Root has them all, outside of containers."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process can run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """All of them, that of ``gid`` included."""
    home: str
    shell: str

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


def other_user(text: str) -> User:
    """The user of that name or number, if this process may start another one as that user.

    Raises ``ConfigError`` if there is no such user, it is root or this process's own, or a
    capability is missing.
    """
    user = _find(text)
    if user.uid == 0:
        raise ConfigError(
            f"worker_user = {text!r} is root, and agents that run as root may do anything here; "
            "name a user that is there for them alone",
            key="worker_user",
        )
    if user.uid == os.geteuid():
        raise ConfigError(
            f"worker_user = {text!r} is the daemon's own user, which keeps agents from nothing; "
            "name another, or leave it empty",
            key="worker_user",
        )
    missing = sorted(name for name, bit in NEEDED.items() if not capabilities() >> bit & 1)
    if missing:
        raise ConfigError(
            f"this process may not start workers as {user}: it lacks {', '.join(missing)}. Start "
            "the daemon as root or with these capabilities, or leave worker_user empty",
            key="worker_user",
        )
    return user


def _find(text: str) -> User:
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise ConfigError(
            f"worker_user = {text!r}: there is no such user here; make one with: "
            f"useradd --system {'NAME' if text.isdecimal() else text}",
            key="worker_user",
        ) from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return User(
        found.pw_name,
        found.pw_uid,
        found.pw_gid,
        tuple(sorted(set(groups))),
        found.pw_dir,
        found.pw_shell,
    )


def group_names(user: User) -> list[str]:
    """Its groups as people call them."""
    return [_group_name(gid) for gid in user.groups]


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def capabilities() -> int:
    """Those that are in effect in this process, a bit each (capabilities, section 7 of man)."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0
