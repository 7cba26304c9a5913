"""The codec ``data``: msgpack, readable in any language, and never runs code.

=====  ============  ====================================================================
code   value         content of the extension
=====  ============  ====================================================================
1      tuple         msgpack array
2      set           msgpack array
3      frozenset     msgpack array
4      bytearray     the bytes
5      int           two's complement, big endian (for what 64 bits do not hold)
6      complex       two IEEE 754 doubles, big endian
7      datetime      msgpack ``[ISO text without zone, fold, zone]``
8      date          ISO text
9      time          msgpack ``[ISO text without zone, fold, zone]``
10     timedelta     msgpack ``[days, seconds, microseconds]``
11     Decimal       its text
12     UUID          16 bytes
13     dict          msgpack array of ``[key, value]`` (for keys that are not text)
14     reference     msgpack array: an object that lives elsewhere
15     bytes         msgpack unsigned: these bytes are the buffer with that number
16     numpy array   msgpack ``[dtype, shape, bytes or 15, whether it is a scalar]``
17     dataclass     msgpack ``[module, qualified name, {field: value}]``
=====  ============  ====================================================================

A zone is nil, ``[days, seconds, microseconds, name or nil]`` (a fixed offset) or text (an IANA
name). A tree of values is written: an object that occurs twice arrives as two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgpack

from agentd.errors import AgentdError, DecodeError, SerializationError
from agentd.serialization import arrays, records
from agentd.serialization.plain import BUFFER_FROM

if TYPE_CHECKING:
    from agentd.serialization.contract import References

__all__ = ["DEPTH", "Form", "pack", "pack_plain", "unpack", "unpack_plain"]

TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
BYTEARRAY: Final = 4
BIG_INT: Final = 5
COMPLEX: Final = 6
DATETIME: Final = 7
DATE: Final = 8
TIME: Final = 9
TIMEDELTA: Final = 10
DECIMAL: Final = 11
UUID: Final = 12
PAIRS: Final = 13
REFERENCE: Final = 14
BUFFER: Final = 15
ARRAY: Final = 16
DATACLASS: Final = 17

DEPTH: Final = 100
SHORT: Final = 1024
"""Nearly all payloads are shorter, and most of those hold nothing but what msgpack has itself."""
"""Containers within containers: below CPython's recursion limit and msgpack's own 512."""

BIG_INT_BYTES: Final = 64 * 1024
DECIMAL_CHARS: Final = 10_000
"""Longer numbers are refused on arrival: arithmetic with them is a denial of service."""


# -- writing ------------------------------------------------------------------------------------


def pack_plain(value: Any) -> tuple[bytes, list[Any]]:
    """Write what `plain.is_plain` approved. Long bytes are left out and go as buffers."""
    buffers: list[Any] = []
    head: bytes = msgpack.packb(_lift(value, buffers))
    return head, buffers


def _lift(value: Any, buffers: list[Any]) -> Any:
    """``value`` with its long bytes replaced by buffer numbers; itself if it has none."""
    kind = type(value)
    if kind is bytes:
        return _buffer(value, buffers) if len(value) >= BUFFER_FROM else value
    if kind is list:
        for item in value:
            if type(item) in (bytes, list, dict):
                return [_lift(item, buffers) for item in value]
    elif kind is dict:
        for item in value.values():
            if type(item) in (bytes, list, dict):
                return {key: _lift(item, buffers) for key, item in value.items()}
    return value


def _buffer(value: Any, buffers: list[Any]) -> msgpack.ExtType:
    buffers.append(value)
    return msgpack.ExtType(BUFFER, msgpack.packb(len(buffers) - 1))


Form = Callable[[Any, str, int], Any]
"""Gives a value's form: called with the value, its path for errors, and how deep it lies."""


def pack(layout: Callable[[Form], Any], *, refs: References | None) -> tuple[bytes, list[Any]]:
    """Write any values that have a form in ``data``; all others are refused, with their path.

    ``layout`` puts the payload together from the forms of its parts.
    """
    writer = _Writer(refs)
    head: bytes = msgpack.packb(layout(writer.form))
    return head, writer.buffers


class _Writer:
    """Turns values into what msgpack has a form of, extension types included."""

    def __init__(self, refs: References | None) -> None:
        self.refs = refs
        self.buffers: list[Any] = []

    def form(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is str:
            return _checked_text(value, path)
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 64 else _ext_int(value)
        if kind is bytes:
            return _buffer(value, self.buffers) if len(value) >= BUFFER_FROM else value
        if depth >= DEPTH:
            raise SerializationError(
                f"{path} is nested more than {DEPTH} levels deep.",
                path=path,
                culprit=kind.__qualname__,
            )
        if kind is list:
            return self._items(value, path, depth)
        if kind is dict:
            return self._dict(value, path, depth)
        return self._extension(value, kind, path, depth)

    def _items(self, value: Any, path: str, depth: int) -> list[Any]:
        return [self.form(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> Any:
        if all(type(key) is str for key in value):
            return {
                _checked_text(k, path): self.form(v, f"{path}[{k!r}]", depth + 1)
                for k, v in value.items()
            }
        pairs = [
            [self.form(k, f"{path}.keys()", depth + 1), self.form(v, f"{path}[{k!r}]", depth + 1)]
            for k, v in value.items()
        ]
        return _ext(PAIRS, pairs)

    def _extension(self, value: Any, kind: type, path: str, depth: int) -> Any:
        if kind is tuple:
            return _ext(TUPLE, self._items(value, path, depth))
        if kind is set or kind is frozenset:
            code = SET if kind is set else FROZENSET
            return _ext(code, [self.form(item, f"{path}{{…}}", depth + 1) for item in value])
        if kind is bytearray:
            return msgpack.ExtType(BYTEARRAY, bytes(value))
        if kind is complex:
            return msgpack.ExtType(COMPLEX, struct.pack(">dd", value.real, value.imag))
        if self.refs is not None and (wire := self.refs.to_wire(value)) is not None:
            return _ext(REFERENCE, list(wire))
        if arrays.is_array(kind):
            return self._array(value, path, kind)
        if records.is_record(kind):
            module, qualname, fields = records.take_apart(value)
            forms = {n: self.form(v, f"{path}.{n}", depth + 1) for n, v in fields.items()}
            return _ext(DATACLASS, [module, qualname, forms])
        writer = _STDLIB_WRITERS.get(f"{kind.__module__}.{kind.__qualname__}")
        form = writer(value) if writer is not None else None
        if form is None:
            name = f"{kind.__module__}.{kind.__qualname__}"
            raise SerializationError(
                f"{path} cannot travel as plain data: {name}. Send text, numbers, bytes, lists, "
                "tuples, sets, dicts, dates, Decimal, UUID, dataclasses or numpy arrays.",
                path=path,
                culprit=name,
            )
        return form

    def _array(self, value: Any, path: str, kind: type) -> Any:
        parts = arrays.take_apart(value)
        if parts is None:
            raise SerializationError(
                f"{path} cannot travel as plain data: an array of dtype {value.dtype}. Send one of "
                "numbers, bools, text or dates.",
                path=path,
                culprit=kind.__qualname__,
            )
        dtype, shape, content = parts
        if memoryview(content).nbytes >= BUFFER_FROM:
            content = _buffer(content, self.buffers)
        return _ext(ARRAY, [dtype, shape, content, kind.__name__ != "ndarray"])


def _checked_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise SerializationError(
            f"{path} holds text that is not valid Unicode (a lone surrogate). Send it as bytes.",
            path=path,
            culprit="str",
        ) from exc
    return text


def _ext(code: int, content: Any) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb(content))


def _ext_int(value: int) -> msgpack.ExtType:
    return msgpack.ExtType(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _write_moment(code: int, value: Any) -> Any:
    zone = _zone(value.tzinfo)
    if zone is _NO_FORM:
        return None
    return _ext(code, [value.replace(tzinfo=None).isoformat(), value.fold, zone])


_NO_FORM: Final = object()


def _zone(tzinfo: Any) -> Any:
    if tzinfo is None:
        return None
    name = f"{type(tzinfo).__module__}.{type(tzinfo).__qualname__}"
    if name == "datetime.timezone":
        offset, *label = tzinfo.__getinitargs__()
        return [offset.days, offset.seconds, offset.microseconds, label[0] if label else None]
    if name == "zoneinfo.ZoneInfo" and tzinfo.key is not None:
        return tzinfo.key
    return _NO_FORM


# By the name of the exact type, so that none of these modules is imported before it is needed.
_STDLIB_WRITERS: Final[dict[str, Any]] = {
    "datetime.datetime": lambda v: _write_moment(DATETIME, v),
    "datetime.time": lambda v: _write_moment(TIME, v),
    "datetime.date": lambda v: msgpack.ExtType(DATE, v.isoformat().encode()),
    "datetime.timedelta": lambda v: _ext(TIMEDELTA, [v.days, v.seconds, v.microseconds]),
    "decimal.Decimal": lambda v: msgpack.ExtType(DECIMAL, str(v).encode()),
    "uuid.UUID": lambda v: msgpack.ExtType(UUID, v.bytes),
}


# -- reading ------------------------------------------------------------------------------------


def unpack(
    head: Any, buffers: Sequence[Any], *, refs: References | None, data_only: bool = False
) -> Any:
    """Read ``data``. Whatever arrives, the outcome is a value or a `DecodeError`.

    ``data_only``: from a peer that may not send code, nor say which part of this host to read.
    """
    try:
        return unpack_plain(head)
    except Exception:  # noqa: BLE001, S110 - what it holds, or what is wrong with it, is found below
        pass
    return _Reader(buffers, refs, data_only=data_only).read(head, 0)


def unpack_plain(head: Any) -> Any:
    """The same, if it is short and holds nothing but what msgpack has itself; else it raises."""
    if type(head) is not bytes or len(head) > SHORT:
        raise LookupError
    return msgpack.unpackb(head, ext_hook=_more, timestamp=3)


def _more(code: int, _content: bytes) -> Any:
    raise LookupError(code)


class _Reader:
    def __init__(self, buffers: Sequence[Any], refs: References | None, *, data_only: bool) -> None:
        self.buffers = buffers
        self.refs = refs
        self.data_only = data_only

    def read(self, content: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise DecodeError(f"the payload is nested more than {DEPTH} levels deep.")

        def extension(code: int, inner: bytes) -> Any:
            return self._extension(code, inner, depth + 1)

        try:
            return msgpack.unpackb(content, ext_hook=extension, timestamp=3)
        except AgentdError:
            raise
        except Exception as exc:
            # msgpack raises a dozen types for malformed input, the constructors below others;
            # to the caller they are all the same: not a payload in this codec.
            raise DecodeError(f"not a payload in codec 'data': {exc!r}") from exc

    def _extension(self, code: int, content: bytes, depth: int) -> Any:
        reader = _READERS.get(code)
        if reader is None:
            raise DecodeError(f"unknown extension type {code} in a payload of codec 'data'.")
        return reader(self, content, depth)

    def items(self, content: bytes, depth: int) -> list[Any]:
        found = self.read(content, depth)
        if type(found) is not list:
            raise DecodeError("an extension type of codec 'data' should hold an array.")
        return found

    def buffer(self, content: bytes, depth: int) -> bytes:
        number = self.read(content, depth)
        if type(number) is not int or not 0 <= number < len(self.buffers):
            raise DecodeError(f"the payload names buffer {number!r} of {len(self.buffers)}.")
        found = self.buffers[number]
        return found if type(found) is bytes else bytes(found)

    def pairs(self, content: bytes, depth: int) -> dict[Any, Any]:
        found = self.items(content, depth)
        if not all(type(pair) is list and len(pair) == 2 for pair in found):
            raise DecodeError("a dict in codec 'data' should be an array of pairs.")
        return dict(found)

    def array(self, content: bytes, depth: int) -> Any:
        found = self.items(content, depth)
        if len(found) != 4:
            raise DecodeError("an array in codec 'data' should be [dtype, shape, bytes, scalar].")
        return arrays.put_together(*found)

    def record(self, content: bytes, depth: int) -> object:
        match self.items(content, depth):
            case [str(module), str(qualname), dict(values)] if all(type(n) is str for n in values):
                make = getattr(self.refs, "make_dataclass", records.restore)
                return make(module, qualname, values)
        raise DecodeError("a dataclass in codec 'data' should be [module, name, {field: value}].")

    def reference(self, content: bytes, depth: int) -> object:
        wire = tuple(self.items(content, depth))
        if self.refs is None:
            raise DecodeError("the payload holds a reference to an agent; none is expected here.")
        if self.data_only and wire[:1] == ("secret",) and ":" in str(wire[1:]):
            # ``env:``, ``file:`` or ``keyring:``: the sender would choose what is read.
            raise DecodeError(
                "a secret that names its source itself may only come from who may send code; use "
                "the name of an entry in the daemon's table of secrets."
            )
        return self.refs.from_wire(wire)

    def moment(self, kind: str, content: bytes, depth: int) -> Any:
        import datetime

        text, fold, zone = self.items(content, depth)
        if type(fold) is not int or fold not in (0, 1):
            raise DecodeError("a time in codec 'data' has a fold other than 0 and 1.")
        value = getattr(datetime, kind).fromisoformat(text)
        return value.replace(tzinfo=_read_zone(zone), fold=fold)


def _read_zone(zone: Any) -> Any:
    import datetime

    if zone is None:
        return None
    if type(zone) is str:
        import zoneinfo

        return zoneinfo.ZoneInfo(zone)
    days, seconds, microseconds, name = zone
    offset = datetime.timedelta(days, seconds, microseconds)
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _read_int(content: bytes) -> int:
    if len(content) > BIG_INT_BYTES:
        raise DecodeError(f"an integer of more than {BIG_INT_BYTES} bytes.")
    return int.from_bytes(content, "big", signed=True)


def _read_complex(content: bytes) -> complex:
    return complex(*struct.unpack(">dd", content))


def _read_date(content: bytes) -> Any:
    import datetime

    return datetime.date.fromisoformat(content.decode())


def _read_timedelta(parts: list[Any]) -> Any:
    import datetime

    days, seconds, microseconds = parts
    if not all(type(part) is int for part in parts):
        raise DecodeError("a timedelta in codec 'data' should hold three integers.")
    return datetime.timedelta(days, seconds, microseconds)


def _read_decimal(content: bytes) -> Any:
    import decimal

    if len(content) > DECIMAL_CHARS:
        raise DecodeError(f"a Decimal of more than {DECIMAL_CHARS} characters.")
    return decimal.Decimal(content.decode())


def _read_uuid(content: bytes) -> Any:
    import uuid

    return uuid.UUID(bytes=content)


_READERS: Final[dict[int, Any]] = {
    TUPLE: lambda reader, content, depth: tuple(reader.items(content, depth)),
    SET: lambda reader, content, depth: set(reader.items(content, depth)),
    FROZENSET: lambda reader, content, depth: frozenset(reader.items(content, depth)),
    BYTEARRAY: lambda reader, content, depth: bytearray(content),
    BIG_INT: lambda reader, content, depth: _read_int(content),
    COMPLEX: lambda reader, content, depth: _read_complex(content),
    DATETIME: lambda reader, content, depth: reader.moment("datetime", content, depth),
    DATE: lambda reader, content, depth: _read_date(content),
    TIME: lambda reader, content, depth: reader.moment("time", content, depth),
    TIMEDELTA: lambda reader, content, depth: _read_timedelta(reader.items(content, depth)),
    DECIMAL: lambda reader, content, depth: _read_decimal(content),
    UUID: lambda reader, content, depth: _read_uuid(content),
    PAIRS: lambda reader, content, depth: reader.pairs(content, depth),
    REFERENCE: lambda reader, content, depth: reader.reference(content, depth),
    BUFFER: lambda reader, content, depth: reader.buffer(content, depth),
    ARRAY: lambda reader, content, depth: reader.array(content, depth),
    DATACLASS: lambda reader, content, depth: reader.record(content, depth),
}
