"""The files that agents of this worker returned: by token, and only as they were returned.

A token is 16 random bytes that travel in the reference to the file; nothing else names a file, so
whoever was not given one cannot read any. Kept is where the file is and what it was, not an open
descriptor: 10,000 of those would be too many, and would hold the space of removed files. What is
no longer the same file, of that size and date, is not read.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from agentd.client.files import check_regular
from agentd.errors import AgentdError, ProtocolError, ResultExpired
from agentd.protocol import error_message
from agentd.protocol.messages import Read, Result
from agentd.worker.operations import failure
from agentd.worker.source import Source

__all__ = ["MAX_AGE_S", "MAX_COUNT", "MAX_READ", "Files", "answer"]

MAX_COUNT: Final = 10_000
MAX_AGE_S: Final = 3600.0
"""What a worker remembers at most; counted since a file was last returned or read."""
MAX_READ: Final = 4 * 1024 * 1024
"""Bytes in one answer: more would hold up the other answers of the connection."""

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Mark(NamedTuple):
    """What tells a file from another one, and from itself with other content."""

    device: int
    inode: int
    size: int
    changed_ns: int


class Offered(NamedTuple):
    """A file that an agent returned."""

    agent: bytes
    path: str
    """Without links: where they pointed when it was returned."""
    mark: Mark


class Files:
    """By token. From any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # protects the two below
        self._offered: OrderedDict[bytes, tuple[Offered, float]] = OrderedDict()
        self._tokens: dict[Offered, bytes] = {}

    def offer(self, agent: bytes, path: str) -> tuple[bytes, int]:
        """Let the file be read from elsewhere, as it is now: its token and size in bytes.

        The same file, unchanged, keeps its token. Raises ``OSError`` if it is not there, not
        a regular file, or not ours to read.
        """
        check_regular(path)
        real = os.path.realpath(path, strict=True)
        fd = os.open(real, _FLAGS)
        try:
            mark = _mark_of(fd)
        finally:
            os.close(fd)
        offered = Offered(agent, real, mark)
        with self._lock:
            token = self._tokens.get(offered) or os.urandom(16)
            self._tokens[offered] = token
            self._offered[token] = (offered, self._clock())
            self._offered.move_to_end(token)
            self._shed()
        return token, mark.size

    def find(self, agent: bytes, token: bytes) -> str:
        """Where the file is; raises ``ResultExpired``."""
        return self._find(agent, token).path

    def read(self, agent: bytes, token: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes, and ``MAX_READ``, from ``offset`` on.

        Raises ``ResultExpired``, and ``OSError`` where the system cannot read it just now.
        """
        if offset < 0 or size < 0:
            raise ProtocolError("a file is read from byte 0 on, and forward")
        offered = self._find(agent, token)
        try:
            fd = os.open(offered.path, _FLAGS)
        except OSError as error:
            if error.errno in _GONE:
                raise _expired(offered, "gone", "was removed") from None
            raise
        try:
            self._compare(fd, offered)
            found = _read(fd, min(size, MAX_READ, max(0, offered.mark.size - offset)), offset)
            self._compare(fd, offered)  # what was read is what was returned
        finally:
            os.close(fd)
        return found

    def forget(self, agent: bytes) -> None:
        """The agent has ended, and its files are not read any more."""
        with self._lock:
            for token in [t for t, (offered, _) in self._offered.items() if offered.agent == agent]:
                self._drop(token)

    def _find(self, agent: bytes, token: bytes) -> Offered:
        with self._lock:
            self._shed()
            found = self._offered.get(token)
            if found is not None and found[0].agent == agent:
                self._offered[token] = (found[0], self._clock())
                self._offered.move_to_end(token)
                return found[0]
        raise ResultExpired(
            "no such file is kept for reading: at most "
            f"{MAX_COUNT:,} files of a worker are, for {MAX_AGE_S / 3600:g} h after they were "
            "last returned or read; have the agent return it again",
            reason="forgotten",
        )

    @staticmethod
    def _compare(fd: int, offered: Offered) -> None:
        if _mark_of(fd) != offered.mark:
            raise _expired(offered, "changed", "was changed")

    def _shed(self) -> None:
        oldest = self._clock() - MAX_AGE_S
        while self._offered:
            token, (_offered, at) = next(iter(self._offered.items()))
            if len(self._offered) <= MAX_COUNT and at >= oldest:
                return
            self._drop(token)

    def _drop(self, token: bytes) -> None:
        offered, _at = self._offered.pop(token)
        del self._tokens[offered]


def answer(files: Files, source: Source, message: Read) -> None:
    """Answer a question for bytes of a file. On an executor's thread: a disk may take its time."""
    number = message.id
    try:
        part = files.read(message.agent, message.token, message.offset, message.size)
    except AgentdError as error:
        source.answer(error_message(number, error))
    except Exception as error:  # noqa: BLE001 - the disk's, told to the reader as it is
        source.answer(*failure(message, error, None, data_only=True))
    else:
        source.answer(Result(number), [part])


def _mark_of(fd: int) -> Mark:
    found = os.fstat(fd)
    return Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(fd: int, size: int, offset: int) -> bytes:
    """All of them: one call of the system may give fewer."""
    first = os.pread(fd, size, offset) if size else b""
    if len(first) == size:
        return first
    parts = [first]
    left = size - len(first)
    while left and (part := os.pread(fd, left, offset + size - left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _expired(offered: Offered, reason: str, what: str) -> ResultExpired:
    name = os.path.basename(offered.path)
    return ResultExpired(
        f"the file {name!r} {what} after it was returned; have the agent return it again",
        reason=reason,
    )
