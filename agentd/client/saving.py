"""Writing a file that comes in parts: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agentd.client.files import Progress

__all__ = ["CHUNK", "chunks_of", "target_of", "write"]

CHUNK: Final = 1024 * 1024
"""Bytes in one part: the cost of asking for it is small beside them, as is the memory it takes."""


def target_of(to: str, name: str) -> str:
    """The path that is meant: ``to``, or ``name`` in it. Raises ``FileNotFoundError``."""
    target = os.path.abspath(os.path.join(to, name) if os.path.isdir(to) else to)
    folder = os.path.dirname(target)
    missing = to if to.endswith("/") else folder
    if not os.path.isdir(missing):
        raise FileNotFoundError(errno.ENOENT, "No such folder", missing)
    return target


def write(
    chunks: Generator[Any, None, None], target: str, size: int, progress: Progress | None
) -> None:
    """Write beside the target, then put it in its place; what fails leaves nothing behind."""
    part = os.path.join(os.path.dirname(target), f".agentd-{os.urandom(8).hex()}.part")
    try:
        with contextlib.closing(chunks), open(part, "xb") as out:
            done = 0
            for chunk in chunks:
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, size)
            if not done and progress is not None:
                progress(0, size)
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def chunks_of(path: str) -> Generator[bytes, None, None]:
    """The bytes of a file of this host."""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
