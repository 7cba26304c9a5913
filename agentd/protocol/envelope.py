"""Frames to message and back.

    [0]   b"AGD1" + msgpack map     the header: ``kind`` and the fields of that message
    [1]   payload head              opaque
    [2…]  payload buffers           opaque, out-of-band

``unpack`` reads nothing but the header, checks every field, and answers anything else than a
message with ``ProtocolError``: it is the only place where bytes of a stranger are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from operator import ne
from typing import Any, Final

import msgpack

from agentd.errors import ProtocolError
from agentd.protocol import repeated
from agentd.protocol.fields import NOTHING
from agentd.protocol.messages import KINDS, Message
from agentd.protocol.repeated import MAGIC
from agentd.protocol.scan import HeaderLimits, check_pair, scan

__all__ = ["MAGIC", "MAX_FRAMES", "MAX_HEADER_BYTES", "Frames", "pack", "unpack"]

DEFAULT: Final = HeaderLimits(frugal=False)
"""For what comes from the daemon and its workers; strangers have stricter ones."""
MAX_HEADER_BYTES: Final = DEFAULT.bytes
MAX_FRAMES: Final = DEFAULT.frames
SMALL: Final = 1024
"""Nearly all headers are shorter: those are built first and looked at afterwards, which takes a
tenth of the time. It is safe as they cannot become large."""
SMALL_OF_OURS: Final = 8 * 1024
"""The same where the description of a class may come: those are longer."""
SMALL_LIST: Final = 64
"""Items of a list in those: more is looked at before it is built."""

Frames = list[Any]
"""Objects with the buffer protocol, in wire order."""


_packb: Callable[..., bytes] = msgpack.packb
_unpackb: Callable[..., Any] = msgpack.unpackb


def pack(message: Message, payload: Sequence[Any] = ()) -> Frames:
    """The frames of a message; the payload's frames are taken as they are."""
    known = repeated.write(message)
    if known is not None:
        return [known, *payload]
    header: dict[str, Any] = {"kind": message.kind}
    fields = zip(message.names, message, strict=True)
    header.update(compress(fields, map(ne, message, message.unsent)))
    packed = MAGIC + _packb(header)
    if len(packed) > MAX_HEADER_BYTES:
        raise ProtocolError(
            f"the header of {message.kind!r} would have {len(packed):,} bytes; "
            f"at most {MAX_HEADER_BYTES:,} may be sent"
        )
    return [packed, *payload]


def unpack(frames: Sequence[Any], limits: HeaderLimits = DEFAULT) -> Message:
    """The message of these frames; the payload stays where it is, in ``frames[1:]``.

    Raises ``ProtocolError`` for everything that is not a message of this protocol, or not within
    the limits.
    """
    if not frames or len(frames) > limits.frames:
        raise ProtocolError(f"a message has 1 to {limits.frames} frames, not {len(frames)}")
    raw = frames[0]
    size = len(raw) if type(raw) is bytes else memoryview(raw).nbytes  # before anything is copied
    if size > limits.bytes:
        raise ProtocolError(f"header of {size:,} bytes; at most {limits.bytes:,} are read")
    if type(raw) is not bytes:
        raw = bytes(raw)
    # What is remembered is short and flat: within whatever the other limits are.
    message = repeated.recall(raw)
    if message is None:
        message = _read(raw, limits)
        repeated.learn(raw, message)
    return message


def _read(raw: bytes, limits: HeaderLimits) -> Message:
    if raw[:4] != MAGIC:
        raise ProtocolError("not an agentd message: it does not start with AGD1")
    header = _header(raw, limits)
    kind = header.get("kind")
    cls = KINDS.get(kind) if type(kind) is str else None
    if cls is None:
        raise ProtocolError("unknown kind of message")
    values = list(cls.unsent)
    places = cls.places
    for name, value in header.items():
        place = places.get(name)
        if place is None:
            check_pair(name, value, limits)  # of a newer version, or nonsense: not for us
            continue
        index, types = place
        found = type(value)
        if found not in types or (found is float and value != value):  # noqa: PLR0124 - NaN
            raise ProtocolError(f"{name!r} of {kind!r} has the wrong type")
        if found is list or found is dict:
            check_pair(name, value, limits)
        values[index] = value
    if NOTHING in values:
        raise ProtocolError(f"{kind!r} lacks {cls.names[values.index(NOTHING)]!r}")
    return cls.from_values(values)


_MISSING: Final = object()


def _header(raw: bytes, limits: HeaderLimits) -> dict[Any, Any]:
    header: Any = _MISSING
    if len(raw) <= (SMALL if limits.frugal else SMALL_OF_OURS):
        try:
            header = _build_small(raw[len(MAGIC) :])
        except Exception:  # noqa: BLE001 - what is wrong with it, if anything, the scan tells
            header = _MISSING
    if header is _MISSING:
        scan(raw, len(MAGIC), limits)
        try:
            header = _build(
                memoryview(raw)[len(MAGIC) :],  # a large one is not copied
                max_array_len=limits.items,
                max_map_len=limits.items,
            )
        except Exception as error:  # text that is not UTF-8, say
            raise ProtocolError(f"header is not msgpack: {type(error).__name__}") from error
    if type(header) is not dict:
        raise ProtocolError("header is not a map")
    if len(header) != _announced(raw):
        # Two readers might take two different ones for what was said.
        raise ProtocolError("a key comes twice in the header")
    return header


def _announced(raw: bytes) -> int:
    """How many pairs the outermost map says it has."""
    code = raw[len(MAGIC)]
    if code < 0x90:
        return code & 15
    first = len(MAGIC) + 1
    return int.from_bytes(raw[first : first + (2 if code == 0xDE else 4)], "big")


def _no_extension(code: int, _data: bytes) -> Any:
    raise ProtocolError(f"extension type {code} in a header")


_build: Final = partial(_unpackb, ext_hook=_no_extension)
_build_small: Final = partial(_build, max_array_len=SMALL_LIST, max_map_len=SMALL_LIST)
