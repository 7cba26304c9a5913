"""Who did what: lines appended to a file, each chained to the one before (``agentd.auditlog``).

Lines of administration are on the disk before what they tell is done, and where they cannot be
written it is not done: ``AuditFailed``. All others are written without waiting for the disk, and
where they cannot be, calls go on and the lost ones are counted. Denials are written as they come up
to a rate, then counted; the count is written. Used by the daemon's loop alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from agentd.auditlog import START, Head, digest, line_of, read
from agentd.config import ServerConfig
from agentd.errors import AuditFailed, ConfigError
from agentd.transport.rundir import default_endpoint

__all__ = ["ADMINISTRATION", "Audit", "Note", "audit_path", "silent"]

ADMINISTRATION: Final = frozenset({"create", "delete", "kill", "stop"})
"""Actions that are not done unless it was written down."""
BURST: Final = 10
"""Denials of one kind (who, action, rule) written in a window; the others are counted."""
WINDOW_S: Final = 10.0
KINDS: Final = 1000
"""Kinds that are told apart within a window; a flood of names is counted as one more."""
LAST: Final = 64 * 1024
"""A line is shorter than that."""
NOBODY: Final = ("", "", "")


class Note(Protocol):
    """What the rest of the daemon calls."""

    def __call__(
        self,
        *,
        who: str,
        action: str,
        target: str = "",
        decision: str = "allowed",
        rule: str = "",
        ip: str = "",
    ) -> None:
        """Write it down. Raises ``AuditFailed`` for an allowed action of administration."""


def silent(
    *,
    who: str,
    action: str,
    target: str = "",
    decision: str = "allowed",
    rule: str = "",
    ip: str = "",
) -> None:
    """For a daemon without an audit log."""


def audit_path(config: ServerConfig, endpoint: str, *, exposed: bool) -> str | None:
    """Where the log is; ``None``: there is none. ``exposed``: not only this user can come in.

    ``endpoint``: the daemon's own over ipc. No two daemons have the same, and one that is started
    again has what it had, so unless it is the usual one the log is named after it.
    """
    if config.audit_file == "off" or not (config.audit_file or exposed):
        return None
    if config.audit_file:
        return config.audit_file
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    name = "audit" if endpoint == default_endpoint() else f"audit-{_name_of(endpoint)}"
    return os.path.join(state, "agentd", f"{name}.jsonl")


def _name_of(endpoint: str) -> str:
    """A name for people and, as others may be called so too, the start of a hash."""
    path = endpoint.partition("://")[2]
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", os.path.basename(path).removesuffix(".sock"))
    return f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class _Denied:
    """Denials of one kind within a window."""

    since: float
    written: int = 0
    counted: int = 0


class Audit:
    """One log. ``ConfigError`` if its files are not this user's alone, or another daemon's."""

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._clock = clock
        self._now = now
        self._denied: dict[tuple[str, str, str], _Denied] = {}
        self.lost = 0
        """Lines that could not be written, since the last one that could."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._head_fd = _open(path + ".head", os.O_RDWR)
        try:
            fcntl.flock(self._head_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._head_fd)
            raise ConfigError(
                f"another daemon writes to {path}; set audit_file to a file of its own",
                key="audit_file",
            ) from None
        self._fd = -1
        self._head = Head.decode(os.pread(self._head_fd, 200, 0)) or START
        try:
            self._reopen()
        except ConfigError:
            os.close(self._head_fd)
            raise
        self._recover()

    # -- what happened -----------------------------------------------------------------------------
    def note(
        self,
        *,
        who: str,
        action: str,
        target: str = "",
        decision: str = "allowed",
        rule: str = "",
        ip: str = "",
    ) -> None:
        """See ``Note``."""
        facts = {
            "who": who,
            "ip": ip,
            "action": action,
            "target": target,
            "decision": decision,
            "rule": rule,
        }
        if decision == "denied":
            if self._is_within_rate((who, action, rule)):
                self._try(facts)
        elif action in ADMINISTRATION:
            self._must(facts)
        else:
            self._try(facts)

    def tick(self) -> None:
        """Write the counts whose window is over; to be called every now and then."""
        over = self._clock() - WINDOW_S
        for kind, denied in list(self._denied.items()):
            if denied.since <= over:
                del self._denied[kind]
                self._tell_count(kind, denied)

    def close(self) -> None:
        """Write what was only counted, and let go of the files."""
        for kind, denied in self._denied.items():
            self._tell_count(kind, denied)
        self._denied.clear()
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        os.close(self._fd)
        os.close(self._head_fd)

    def _is_within_rate(self, kind: tuple[str, str, str]) -> bool:
        self.tick()
        if kind not in self._denied and len(self._denied) >= KINDS:
            kind = NOBODY
        denied = self._denied.setdefault(kind, _Denied(self._clock()))
        if kind != NOBODY and denied.written < BURST:
            denied.written += 1
            return True
        denied.counted += 1
        return False

    def _tell_count(self, kind: tuple[str, str, str], denied: _Denied) -> None:
        if denied.counted:
            who, action, rule = kind
            self._try(
                {
                    "who": who,
                    "action": action,
                    "decision": "denied",
                    "rule": rule,
                    "count": denied.counted,
                }
            )

    # -- the file ----------------------------------------------------------------------------------
    def _must(self, facts: dict[str, Any]) -> None:
        try:
            self._write(facts)
            os.fsync(self._fd)
        except OSError as error:
            self.lost += 1
            raise AuditFailed(
                f"{facts['action']} was not done: the audit log cannot be written "
                f"({error.strerror}); calls go on. Make room, or set audit_file elsewhere",
                action=facts["action"],
            ) from error

    def _try(self, facts: dict[str, Any]) -> None:
        try:
            self._write(facts)
        except OSError:
            self.lost += 1

    def _write(self, facts: dict[str, Any]) -> None:
        self._follow_rotation()
        if self.lost:
            gone = {"who": "", "action": "audit", "decision": "lost", "count": self.lost}
            self._append(gone)
            self.lost = 0
        self._append(facts)

    def _append(self, facts: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        line, head = line_of(self._head, {"time": moment.replace("+00:00", "Z"), **facts})
        size = os.fstat(self._fd).st_size
        if os.write(self._fd, line) < len(line):
            os.ftruncate(self._fd, size)  # half a line would break the chain
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._head = head
        # Overwritten in place, with the same size: that needs no room. Should it fail all the same,
        # the head lags behind the log, which is no break of the chain.
        with contextlib.suppress(OSError):
            os.pwrite(self._head_fd, head.encode(), 0)

    def _follow_rotation(self) -> None:
        """Somebody moved the file away: go on in a new one, in the same chain."""
        try:
            if os.path.samestat(os.fstat(self._fd), os.stat(self.path)):
                return
        except FileNotFoundError:
            pass
        self._reopen()

    def _reopen(self) -> None:
        fd = _open(self.path, os.O_RDWR | os.O_APPEND)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd

    def _recover(self) -> None:
        """Go on after the last line; if that is not where the chain ended, say so."""
        size = os.fstat(self._fd).st_size
        last = os.pread(self._fd, LAST, max(0, size - LAST))
        if not last:
            return  # new, or rotated while no daemon ran
        if not last.endswith(b"\n"):
            with contextlib.suppress(OSError):
                os.write(self._fd, b"\n")  # half a line: the machine stopped while it was written
            last += b"\n"
        line = last[:-1].rpartition(b"\n")[2]
        found = read(line)
        end = Head(found["n"] if found else self._head.n + 1, digest(line))
        behind = found is not None and end.n > self._head.n
        if end != self._head and not behind:
            self._head = Head(max(end.n, self._head.n), end.hash)
            self._try({"who": "", "action": "audit", "decision": "broken", "rule": "end of file"})
        else:
            self._head = end


def _open(path: str, flags: int) -> int:
    flags |= os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the audit log {path} cannot be opened: {error.strerror}", key="audit_file"
        ) from error
    found = os.fstat(fd)
    wrong = None
    if not stat.S_ISREG(found.st_mode):
        wrong = "is no file"
    elif found.st_uid != os.geteuid():
        wrong = "belongs to another user"
    elif found.st_mode & 0o077:
        wrong = f"is open to others; close it with: chmod 600 {path}"
    if wrong is not None:
        os.close(fd)
        raise ConfigError(f"the audit log {path} {wrong}", key="audit_file")
    return fd
