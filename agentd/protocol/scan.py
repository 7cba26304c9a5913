"""A look at a header before anything is built from it.

msgpack builds lists as long as they say they are, before their items are there, and nests them a
thousand deep: 64 KiB can become megabytes. Here the bytes are walked instead, and counted: how
deep, how many items, and about how much memory they would take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from agentd.errors import ProtocolError

__all__ = ["EXPANSION", "HeaderLimits", "check_pair", "scan"]

EXPANSION: Final = 4
"""What a header becomes in memory is at most so many times the longest header."""


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """What a reader accepts of a header, and how many frames with it."""

    bytes: int = 64 * 1024
    """nginx allows 8 KiB, node 16 KiB. Ours is larger because ``about`` lists the methods of a
    class."""
    frames: int = 1026
    """Header, head and at most 1,024 out-of-band buffers; more are folded into the head."""
    depth: int = 32
    items: int = 10_000
    """All lists and maps together; a key and its value count as one."""
    frugal: bool = True
    """Whether ``EXPANSION`` holds: not for what our own workers say of classes."""


_LIST: Final = 56
_SLOT: Final = 8
_DICT: Final = 64
_PAIR: Final = 150  # of a growing table, and of the table of all keys
_TEXT: Final = 50
_WIDE_TEXT: Final = 76
_BYTES: Final = 33
_NUMBER: Final = 32

_SIZES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes and texts: how long their length is."""
_COUNTS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Lists and maps: the same."""
_FIXED: Final = {
    **dict.fromkeys((0xC0, 0xC2, 0xC3), 0),
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}


def scan(raw: bytes, start: int, limits: HeaderLimits) -> None:
    """Raise ``ProtocolError`` unless ``raw`` from ``start`` on is one msgpack value within limits.

    No extension types (msgpack's timestamp is one), and only text as keys.
    """
    walk = _Walk(raw, start, limits)
    walk.value(1)
    if walk.at != len(raw):
        raise ProtocolError("header is not msgpack: there are bytes behind it")


class _Walk:
    """Where a scan is, and what it has counted."""

    __slots__ = ("at", "items", "limits", "raw", "weight")

    def __init__(self, raw: bytes, at: int, limits: HeaderLimits) -> None:
        self.raw = raw
        self.at = at
        self.limits = limits
        self.items = 0
        self.weight = 0

    def value(self, depth: int) -> None:
        """One value. Recursion is bounded by ``limits.depth``."""
        code = self._number(1)
        if code < 0x80 or code >= 0xE0:
            return
        if code < 0x90:
            self._map(code & 15, depth)
        elif code < 0xA0:
            self._list(code & 15, depth)
        elif code < 0xC0:
            self._text(code & 31)
        elif code in _FIXED:
            self._skip(_FIXED[code])
            self._add(_NUMBER)
        elif code in _SIZES:
            size = self._number(_SIZES[code])
            if code >= 0xD9:
                self._text(size)
            else:
                self._skip(size)
                self._add(_BYTES + size)
        elif code in _COUNTS:
            count = self._number(_COUNTS[code])
            (self._map if code >= 0xDE else self._list)(count, depth)
        else:
            raise ProtocolError("extension types are not allowed in a header")

    def _list(self, count: int, depth: int) -> None:
        self._open(count, depth)
        self._add(_LIST + _SLOT * count)
        for _ in range(count):
            self.value(depth + 1)

    def _map(self, count: int, depth: int) -> None:
        self._open(count, depth)
        self._add(_DICT + _PAIR * count)
        for _ in range(count):
            if not (0xA0 <= self._peek() < 0xC0 or 0xD9 <= self._peek() <= 0xDB):
                raise ProtocolError("the keys of a header are text")
            self.value(depth + 1)
            self.value(depth + 1)

    def _open(self, count: int, depth: int) -> None:
        if depth > self.limits.depth:
            raise ProtocolError(
                f"header is nested too deep; at most {self.limits.depth} levels are read"
            )
        self.items += count
        if self.items > self.limits.items:
            raise ProtocolError(f"header has more than {self.limits.items:,} items")
        if count > len(self.raw) - self.at:
            raise ProtocolError("header is not msgpack: it announces more than there is")

    def _text(self, size: int) -> None:
        began = self.at
        self._skip(size)
        if size < 32:
            self._add(_WIDE_TEXT + 4 * size)
            return
        text = self.raw[began : self.at]
        highest = max(text)
        if highest < 0x80:
            self._add(_TEXT + size)
        else:  # built with room for as many characters as there are bytes, beside a narrow one
            self._add(_WIDE_TEXT + size * (5 if highest >= 0xF0 else 3))

    def _add(self, weight: int) -> None:
        self.weight += weight
        most = EXPANSION * self.limits.bytes
        if self.limits.frugal and self.weight > most:
            raise ProtocolError(f"header would take more than {most:,} bytes of memory")

    def _peek(self) -> int:
        if self.at >= len(self.raw):
            raise ProtocolError("header is not msgpack: it ends too early")
        return self.raw[self.at]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.raw):
            raise ProtocolError("header is not msgpack: it ends too early")

    def _number(self, size: int) -> int:
        began = self.at
        self._skip(size)
        return int.from_bytes(self.raw[began : self.at], "big")


_PLAIN: Final = frozenset((str, int, float, bool, bytes, type(None)))


def check_pair(key: Any, value: Any, limits: HeaderLimits) -> None:
    """The same for a field that was built already, its header being small: depth, keys, types."""
    if type(key) is not str:
        raise ProtocolError("the keys of a header are text")
    if type(value) not in _PLAIN:
        _check_parts((value,), limits.depth)


def _check_map(found: dict[Any, Any], depth: int) -> None:
    if found and set(map(type, found)) != {str}:
        raise ProtocolError("the keys of a header are text")
    if not _PLAIN.issuperset(map(type, found.values())):
        _check_parts(found.values(), depth)


def _check_parts(values: Any, depth: int) -> None:
    for value in values:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if depth <= 1:
            raise ProtocolError("header is nested too deep")
        if kind is dict:
            _check_map(value, depth - 1)
        elif kind is list:
            _check_parts(value, depth - 1)
        else:
            raise ProtocolError("extension types are not allowed in a header")
