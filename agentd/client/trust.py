"""From which daemons this process reads more than plain data: to do so is to run their code."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

from agentd import serialization
from agentd.errors import CodecNotAllowed
from agentd.transport import rundir

__all__ = ["Reader", "is_own"]

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def is_own(path: str) -> bool:
    """Whether only this user (or root) can listen at that path of a socket, and root does not.

    Whoever made the socket owns its file. Its folder has to be ours and closed to the writing of
    others, and so has each one on the way there, unless it is sticky: else somebody else's socket
    may lie there tomorrow.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        if os.lstat(folder).st_mode & _OTHERS:
            return False
        socket_file = os.lstat(path) if os.path.lexists(path) else None
        if socket_file is not None and socket_file.st_uid != os.geteuid():
            return False
        return all(_is_safe(each) for each in _ways(folder) | _ways(os.path.realpath(folder)))
    except OSError:
        return False


def _ways(folder: str) -> set[str]:
    found = {folder}
    while folder != "/":
        folder = os.path.dirname(folder)
        found.add(folder)
    return found


def _is_safe(folder: str) -> bool:
    found = os.lstat(folder)
    closed = stat.S_ISLNK(found.st_mode) or not found.st_mode & _OTHERS
    return _ours(found) and (closed or bool(found.st_mode & stat.S_ISVTX))


def _ours(found: os.stat_result) -> bool:
    return found.st_uid in (0, os.geteuid())


class Reader:
    """Opens what comes from one daemon and its workers, as far as that one is trusted."""

    __slots__ = ("_endpoint", "trusted")

    def __init__(self, endpoint: str, *, trusted: bool) -> None:
        self._endpoint = endpoint
        self.trusted = trusted

    def decode(self, codec: str, head: Any, buffers: Sequence[Any], refs: Any) -> Any:
        """A value; raises ``CodecNotAllowed`` where it would have to run code to be one."""
        if codec == "data" and self.trusted:
            return serialization.unpack_data(head, buffers, refs=refs)
        try:
            return serialization.decode(codec, head, buffers, refs=refs, data_only=not self.trusted)
        except CodecNotAllowed as error:
            raise CodecNotAllowed(
                f"{self._endpoint} sent a value in codec {codec!r}, and to read that is to let it "
                f"run code here. {self._way()}",
                codec=codec,
                endpoint=self._endpoint,
            ) from error

    def decode_error(
        self, facts: dict[str, Any], codec: str, payload: Sequence[Any], refs: Any
    ) -> BaseException:
        """An exception that its code raised. Never raises."""
        head, *buffers = payload or (b"",)
        error = serialization.decode_error(
            facts, codec, head, buffers, refs=refs, data_only=not self.trusted
        )
        if not self.trusted and codec not in ("", "data"):
            error.add_note(f"(it came as a pickle. {self._way()})")
        return error

    def _way(self) -> str:
        """What would allow it."""
        if not rundir.is_tcp(self._endpoint):
            return (
                "Only plain data is read from a socket that is not in a private folder of this "
                "user's (mode 0700, as the folders above it)."
            )
        return (
            "Only plain data is read from a daemon that is not trusted with that; "
            f"agentctl trust add --code {self._endpoint} PUBLIC_KEY would allow it."
        )
