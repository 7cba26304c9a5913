"""What a class offers, as plain data, so that a client without the class can make a proxy of it.

``{"module", "qualname", "methods": {name: flags}, "specials": [name], "bases": [name]}``, and
``"exposed"``: whether the class chose them by ``@agentd.expose``. This is the table in which a
worker looks methods up.
"""

from __future__ import annotations

import functools
import types
import weakref
from typing import Any, Final

__all__ = [
    "ASYNC_MARK",
    "COROUTINE",
    "EXPOSE_MARK",
    "GENERATOR",
    "IDEMPOTENT",
    "IDEMPOTENT_MARK",
    "MARKED_ASYNC",
    "READONLY",
    "READONLY_MARK",
    "SPECIALS",
    "about_class",
]

COROUTINE: Final = 1
"""An ``async def`` method."""
GENERATOR: Final = 2
"""A generator or async-generator method."""
MARKED_ASYNC: Final = 4
"""A method marked ``@agentd.async_func``."""
READONLY: Final = 8
"""A method marked ``@agentd.readonly``: it may run beside others."""
IDEMPOTENT: Final = 16
"""A method marked ``@agentd.idempotent``: it may be run again after a failure."""

READONLY_MARK: Final = "__agentd_readonly__"
IDEMPOTENT_MARK: Final = "__agentd_idempotent__"
EXPOSE_MARK: Final = "__agentd_expose__"
ASYNC_MARK: Final = "__agentd_async__"
"""The attribute with which ``async_func`` (True) and ``sync_func`` (False) mark a function."""

_ARITHMETIC: Final = (
    "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
).split()

SPECIALS: Final = frozenset(
    f"__{name}__"
    for name in (
        "call len bool contains iter next reversed getitem setitem delitem enter exit "
        "eq ne lt le gt ge hash str bytes format int float complex index round trunc floor ceil "
        "neg pos abs invert length_hint missing"
    ).split()
    + _ARITHMETIC
    + [f"r{name}" for name in _ARITHMETIC]
    + [f"i{name}" for name in _ARITHMETIC if name != "divmod"]
)
"""The special methods that reach a hosted object, if its class defines them. Not among them: those
that make, destroy, copy, pickle or inspect an object, which mean the proxy itself."""

_CALLABLE: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    staticmethod,
    classmethod,
    functools.partialmethod,
)

_known: weakref.WeakKeyDictionary[type, tuple[int, dict[str, Any]]] = weakref.WeakKeyDictionary()
"""By class, with the number of names it had then: a class that got another method since is
described anew."""


def about_class(cls: type) -> dict[str, Any]:
    """Describe the class; the result is shared and must not be changed."""
    names = sum([len(base.__dict__) for base in cls.__mro__])
    found = _known.get(cls)
    if found is None or found[0] != names:
        found = (names, _describe(cls))
        _known[cls] = found
    return found[1]


def _describe(cls: type) -> dict[str, Any]:
    methods: dict[str, int] = {}
    specials: list[str] = []
    exposed: set[str] = set()
    for base in reversed(cls.__mro__[:-1]):  # without ``object``; the most derived one wins
        if base.__module__.startswith("agentd."):
            continue
        for name, value in base.__dict__.items():
            if _is_exposed(value):
                exposed.add(name)
            if not name.startswith("_"):
                if isinstance(value, _CALLABLE):
                    methods[name] = _flags(value)
                else:
                    methods.pop(name, None)
            elif name in SPECIALS:
                if value is None:  # ``__hash__ = None``: the class says it has none
                    specials = [s for s in specials if s != name]
                elif name not in specials:
                    specials.append(name)
    if exposed:
        methods = {name: flags for name, flags in methods.items() if name in exposed}
        specials = [name for name in specials if name in exposed]
    return {
        "exposed": bool(exposed),
        "module": cls.__module__,
        "qualname": cls.__qualname__,
        "methods": methods,
        "specials": specials,
        "unhashable": cls.__hash__ is None,
        "bases": [f"{base.__module__}:{base.__qualname__}" for base in cls.__mro__[1:-1]],
    }


def _is_exposed(value: Any) -> bool:
    if not isinstance(value, _CALLABLE):
        return False
    return getattr(getattr(value, "__func__", value), EXPOSE_MARK, False) is True


def _flags(value: Any) -> int:
    function = getattr(value, "__func__", value)
    if isinstance(function, functools.partialmethod):
        function = function.func
    mark = getattr(function, ASYNC_MARK, None)
    marks = READONLY if getattr(function, READONLY_MARK, False) else 0
    if getattr(function, IDEMPOTENT_MARK, False):
        marks |= IDEMPOTENT
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    bits = code.co_flags if code is not None else 0
    flags = marks | (COROUTINE if bits & 0x80 else 0)
    if bits & (0x20 | 0x200):
        flags |= GENERATOR
    if mark:
        flags |= MARKED_ASYNC
    return flags
