"""Is a value exactly plain? The question that decides for the fast codec.

*Exactly*: what msgpack would give back as something else (a tuple as a list, an ``IntEnum`` as an
``int``, a list that occurs twice as two lists) is not plain. The walk ends after ``NODES`` values:
larger ones are cheaper in pickle, which looks at them in C.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BUFFER_FROM", "is_plain"]

NODES: Final = 200
"""Up to here the walk (about 50 ns a node) costs less than setting up a pickler."""

BUFFER_FROM: Final = 64 * 1024
"""Bytes from this length on travel in a frame of their own instead of being copied."""

_INT_MIN: Final = -(1 << 63)
_INT_END: Final = 1 << 64
_ATOMS: Final = frozenset({type(None), bool, float, str})


def is_plain(value: Any) -> bool:
    """Whether ``value`` comes back from ``data`` as it was, and is small enough to ask."""
    stack = [value]
    left = NODES
    seen: set[int] = set()
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind in _ATOMS:
            pass
        elif kind is int:
            if not _INT_MIN <= item < _INT_END:
                return False
        elif kind is list or kind is dict:
            # Once only: aliases would be torn apart, and a cycle would never end.
            if id(item) in seen:
                return False
            seen.add(id(item))
            if kind is dict:
                for key in item:
                    if type(key) is not str:
                        return False
                stack.extend(item.values())
            else:
                stack.extend(item)
            left -= len(item)
        elif kind is not bytes:
            return False
        if left < 0:
            return False
    return True
