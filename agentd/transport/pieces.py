"""Long frames in pieces, as they go where each frame is sealed and opened as a whole (CURVE).

libzmq does so in its one thread, in which everything else waits meanwhile: a frame of 8 MiB held up
all other connections for 15 ms and more. Pieces let the others in between, and one is sealed while
the one before is on its way.

**A frame of PIECE bytes goes on in the next one.** So the last piece is the first that is shorter,
and empty where nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

__all__ = ["PIECE", "SEAL", "cut", "join"]

PIECE: Final = 128 * 1024
"""Bytes: about 0.3 ms of libzmq's thread. With 64 KiB to 1 MiB long messages are equally fast, but
beside somebody who sends 8 MiB again and again the p50 of small calls was 3.2 ms with the least and
5.6 ms with the most."""
SEAL: Final = 33
"""Bytes by which CURVE makes a frame longer: ``\\x07MESSAGE``, a nonce of 8, an authenticator of
16, flags (RFC 26)."""


def cut(frames: Sequence[Any]) -> Sequence[Any]:
    """Frames none of which is longer than a piece, and which are not copied."""
    if all(_size(frame) < PIECE for frame in frames):
        return frames
    return [piece for frame in frames for piece in _pieces(frame)]


def _size(frame: Any) -> int:
    return len(frame) if type(frame) is bytes else memoryview(frame).nbytes


def _pieces(frame: Any) -> Iterator[Any]:
    if _size(frame) < PIECE:
        yield frame
        return
    view = memoryview(frame).cast("B")
    for at in range(0, view.nbytes + 1, PIECE):
        yield view[at : at + PIECE]


def join(parts: list[Any]) -> list[Any]:
    """The frames as they were before ``cut``, in memory that may be written to if they were long.

    A message that ends with a whole piece has ended there all the same.
    """
    if all(len(part) < PIECE for part in parts):
        return parts
    frames: list[Any] = []
    waiting: list[Any] = []
    for number, part in enumerate(parts, 1):
        waiting.append(part)
        if len(part) < PIECE or number == len(parts):
            frames.append(part if len(waiting) == 1 else _joined(waiting))
            waiting = []
    return frames


def _joined(pieces: list[Any]) -> memoryview:
    from agentd.transport import memory  # who gets nothing long does without

    kept, room = memory.changeable(sum(map(len, pieces)))
    at = 0
    for piece in pieces:
        room[at : at + len(piece)] = piece
        at += len(piece)
    return kept
