"""Operators, ``len``, ``with`` and the like on a proxy. Python looks for them on its type.

The type of a proxy has those that the agent's class defines. Where the class is not known yet, it
has all of them: the first one that is used waits until it is, and is then done as Python does it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

from agentd.client.about import SPECIALS
from agentd.errors import ProtocolError

__all__ = ["UNKNOWN", "special", "unknown"]

UNKNOWN: Final = SPECIALS - {
    f"__{name}__"
    for name in ("eq", "ne", "hash", "str", "format", "next", "length_hint", "missing")
}
"""What a proxy can do whose class is not known. Any object can be compared, hashed and shown, and
is by what nobody expects to wait: logs, sets. With ``__next__`` it would pass for an iterator."""

_AGAIN: Final[dict[str, Callable[..., Any]]] = {
    "__bool__": bool,
    "__bytes__": bytes,
    "__call__": lambda self, *args, **kwargs: self(*args, **kwargs),
    "__ceil__": math.ceil,
    "__complex__": complex,
    "__contains__": operator.contains,
    "__delitem__": operator.delitem,
    "__float__": float,
    "__floor__": math.floor,
    "__getitem__": operator.getitem,
    "__index__": operator.index,
    "__int__": int,
    "__iter__": iter,
    "__len__": len,
    "__reversed__": reversed,
    "__round__": round,
    "__setitem__": operator.setitem,
    "__trunc__": math.trunc,
    "__abs__": abs,
    "__invert__": operator.invert,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
}
"""What Python has of its own where a class lacks the method: another way, or the right error."""


def special(name: str) -> Callable[..., Any]:
    """A special method that the agent's class defines."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "__exit__" and len(args) == 3:
            args = (*args[:2], None)  # a traceback belongs to its process
        from agentd.client.calling import call

        value = call(self, name, args, kwargs)
        if name == "__iter__" and not isinstance(value, Iterator):
            raise ProtocolError("the agent's __iter__ did not give an iterator")
        return value

    method.__name__ = method.__qualname__ = name
    return method


def unknown(name: str) -> Callable[..., Any]:
    """A special method of an agent of whose class nothing is known yet."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        from agentd.client.calling import know

        know(self)  # gives it the type that it will keep
        for cls in type(self).__mro__:  # not ``getattr``, which finds those of classes, too
            if name in cls.__dict__:
                return cls.__dict__[name](self, *args, **kwargs)
        again = _AGAIN.get(name)
        if again is not None:
            return again(self, *args, **kwargs)
        if name in ("__enter__", "__exit__"):
            raise TypeError(
                f"{type(self).__name__!r} object does not support the context manager protocol"
            )
        return NotImplemented  # a binary operator: Python asks the other side, and then complains

    method.__name__ = method.__qualname__ = name
    return method
