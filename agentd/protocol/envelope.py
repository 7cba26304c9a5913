"""Frames to message and back.

    [0]   b"AGD1" + msgpack map     the header: ``kind`` and the fields of that message
    [1]   payload head              opaque
    [2…]  payload buffers           opaque, out-of-band

``unpack`` reads nothing but the header, checks every field, and answers anything else than a
message with ``ProtocolError``: it is the only place where bytes of a stranger are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

from agentd.errors import ProtocolError
from agentd.protocol.messages import KINDS, Message

__all__ = ["MAGIC", "MAX_FRAMES", "MAX_HEADER_BYTES", "Frames", "pack", "unpack"]

MAGIC: Final = b"AGD1"
MAX_HEADER_BYTES: Final = 64 * 1024
"""A header is names, ids and a description of a class; nginx allows 8 KiB, node 16 KiB. Ours is
larger because ``about`` lists the methods of a class."""
MAX_FRAMES: Final = 1026
"""Header, head and at most 1,024 out-of-band buffers; more are folded into the head."""
MAX_KEYS: Final = 10_000
"""Per map of a header: 64 KiB of one-byte items would otherwise become objects 75 times their
size."""
MAX_ITEMS: Final = 1_000
"""Per array of a header. Fewer than keys: msgpack makes an array as long as it says it is, before
the items are there, and arrays can be nested a thousand deep."""

Frames = list[Any]
"""Objects with the buffer protocol, in wire order."""


_packb: Callable[..., bytes] = msgpack.packb
_unpackb: Callable[..., Any] = msgpack.unpackb


def pack(message: Message, payload: Sequence[Any] = ()) -> Frames:
    """The frames of a message; the payload's frames are taken as they are."""
    kind = message.kind
    header: dict[str, Any] = {"kind": kind}
    for (name, _types, default, required), value in zip(message.fields, message, strict=True):
        if required or value != default:
            header[name] = value
    packed = _packb(header)
    if len(MAGIC) + len(packed) > MAX_HEADER_BYTES:
        raise ProtocolError(
            f"the header of {kind!r} would have {len(MAGIC) + len(packed):,} bytes; "
            f"at most {MAX_HEADER_BYTES:,} may be sent"
        )
    return [MAGIC + packed, *payload]


def unpack(frames: Sequence[Any]) -> Message:
    """The message of these frames; the payload stays where it is, in ``frames[1:]``.

    Raises ``ProtocolError`` for everything that is not a message of this protocol.
    """
    if not frames or len(frames) > MAX_FRAMES:
        raise ProtocolError(f"a message has 1 to {MAX_FRAMES} frames, not {len(frames)}")
    size = memoryview(frames[0]).nbytes  # before anything is copied
    if size > MAX_HEADER_BYTES:
        raise ProtocolError(f"header of {size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
    raw = bytes(frames[0])
    if raw[:4] != MAGIC:
        raise ProtocolError("not an agentd message: it does not start with AGD1")
    try:
        header = _unpackb(
            raw[4:],
            ext_hook=_no_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_KEYS,
        )
    except ProtocolError:
        raise
    except Exception as error:  # msgpack raises many types for bad bytes; all mean the same
        raise ProtocolError(f"header is not msgpack: {type(error).__name__}") from error
    if type(header) is not dict:
        raise ProtocolError("header is not a map")
    kind = header.get("kind")
    cls = KINDS.get(kind) if type(kind) is str else None
    if cls is None:
        raise ProtocolError("unknown kind of message")
    values = []
    for name, types, default, required in cls.fields:
        value = header.get(name, _MISSING)
        if value is _MISSING:
            if required:
                raise ProtocolError(f"{kind!r} lacks {name!r}")
            value = default
        elif type(value) not in types:
            raise ProtocolError(f"{name!r} of {kind!r} has the wrong type")
        values.append(value)
    return cls.from_values(values)


_MISSING: Final = object()


def _no_extension(code: int, _data: bytes) -> Any:
    raise ProtocolError(f"extension type {code} in a header")
