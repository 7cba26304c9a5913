"""Is a value exactly plain? The question that decides for the fast codec.

*Exactly*: what msgpack would give back as something else (a tuple as a list, an ``IntEnum`` as an
``int``, a list that occurs twice as two lists) is not plain. The walk ends after ``NODES`` values:
larger ones are cheaper in pickle, which looks at them in C.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BUFFER_FROM", "INT_END", "INT_MIN", "is_plain"]

NODES: Final = 200
"""Up to here the walk (about 50 ns a node) costs less than setting up a pickler."""

BUFFER_FROM: Final = 64 * 1024
"""Bytes from this length on travel in a frame of their own instead of being copied."""

INT_MIN: Final = -(1 << 63)
INT_END: Final = 1 << 64


def is_plain(value: Any) -> bool:
    """Whether ``value`` comes back from ``data`` as it was, and is small enough to ask."""
    stack = [value]
    left = NODES
    seen: set[int] = set()
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is str or kind is float or kind is bool or kind is bytes or item is None:
            continue
        if kind is int:
            if INT_MIN <= item < INT_END:
                continue
            return False
        if kind is not list and kind is not dict:
            return False
        # Once only: aliases would be torn apart, and a cycle would never end.
        left -= len(item)
        if left < 0 or id(item) in seen:
            return False
        seen.add(id(item))
        if kind is list:
            stack.extend(item)
        elif all(type(key) is str for key in item):
            stack.extend(item.values())
        else:
            return False
    return True
