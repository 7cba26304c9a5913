"""How large a message is, and whether it is too large for whom it is sent to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentd.errors import PayloadTooLarge

__all__ = ["check_size", "size_of"]


def size_of(frames: Sequence[Any]) -> int:
    """Bytes of a message."""
    size = 0
    for frame in frames:
        size += len(frame) if type(frame) is bytes else memoryview(frame).nbytes
    return size


def check_size(kind: str, size: int, most: int, taker: str) -> None:
    """Raise ``PayloadTooLarge`` if a message has more bytes than its ``taker`` takes."""
    if size > most:
        raise PayloadTooLarge(
            f"this {kind!r} has {size:,} bytes; {taker} takes {most:,} (its setting "
            "max_message_bytes). Nothing was done",
            limit=most,
            size=size,
            setting="max_message_bytes",
        )
