"""Exceptions as values: original type, args, attributes, built-in fields, chain and notes.

An exception is rebuilt by its built-in base alone (`wire.new_exception`), because a custom
``__init__`` rarely takes ``*args`` back. A class that says itself how it pickles is obeyed.
"""

from __future__ import annotations

import copyreg
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from agentd.serialization import wire
from agentd.serialization.small import HEAP_TYPE

if TYPE_CHECKING:
    from agentd.serialization.pickling import Rules

__all__ = ["constructor_args", "reduce_exception"]

_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
# `obj` is what an attribute was looked up on: as a rule the agent itself. CPython leaves it out
# of its own pickles as well. Those of a group are in its constructor.
_NO_FIELDS: Final = frozenset({"args", "obj", "message", "exceptions"})


def reduce_exception(rules: Rules, exc: BaseException) -> Any:
    """Shell and content of one exception; its relatives follow as exceptions of their own."""
    cls = type(exc)
    soft = rules.soften if rules.soften is not None else _as_it_is
    own = _own_reduce(cls)
    if own:
        form: Any = exc.__reduce_ex__(5)
        if type(form) is not tuple or len(form) > 3:
            return form
        shell: tuple[Any, ...] = wire.call, (form[0], tuple(map(soft, form[1])))
        attributes: Any = form[2] if len(form) == 3 else None
        fields: dict[str, Any] = {}
        args = None
    else:
        base = next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)
        shell = wire.new_exception, (cls, base, _constructor_args(exc, base, soft))
        attributes = _attributes(exc, cls)
        fields = {name: soft(value) for name, value in _fields(exc, base)}
        args = tuple(map(soft, exc.args)) if not isinstance(exc, BaseExceptionGroup) else None
    if rules.soften is not None:
        attributes = _soften_state(attributes, soft)
    state = {
        "state": attributes,
        "setstate": own or _has_own(cls, "__getstate__"),
        "fields": fields,
        "args": args,
        "cause": exc.__cause__,
        "context": exc.__context__,
        "suppress": exc.__suppress_context__,
    }
    return *shell, state, None, None, wire.fill_exception


def _as_it_is(value: Any) -> Any:
    return value


def _has_own(cls: type, name: str) -> bool:
    """Whether a class written in Python defines it."""
    return any(name in vars(base) and base.__flags__ & HEAP_TYPE for base in cls.__mro__)


def _own_reduce(cls: type) -> bool:
    return _has_own(cls, "__reduce__") or _has_own(cls, "__reduce_ex__")


def _constructor_args(exc: BaseException, base: type, soft: Any) -> tuple[Any, ...]:
    if isinstance(exc, BaseExceptionGroup):
        return soft(exc.message), list(exc.exceptions)
    return tuple(map(soft, constructor_args(exc, base)))


def constructor_args(exc: BaseException, base: type) -> tuple[Any, ...]:
    """What its built-in base is made with."""
    # OSError takes its file names apart from args; its own reduce puts them back.
    reduce: Any = base.__reduce__
    args: tuple[Any, ...] = reduce(exc)[1]
    return args


def _attributes(exc: BaseException, cls: type) -> Any:
    if _has_own(cls, "__getstate__"):
        return exc.__getstate__()
    slots = {}
    for name in copyreg._slotnames(cls):  # type: ignore[attr-defined]
        if hasattr(exc, name):
            slots[name] = getattr(exc, name)
    return (exc.__dict__, slots) if slots else exc.__dict__


def _fields(exc: BaseException, base: type) -> Iterator[tuple[str, Any]]:
    for ancestor in base.__mro__:
        for name, kind in vars(ancestor).items():
            if name[0] != "_" and name not in _NO_FIELDS and isinstance(kind, _DESCRIPTORS):
                try:
                    yield name, getattr(exc, name)
                except AttributeError:
                    pass  # Not set, such as OSError.characters_written.


def _soften_state(state: Any, soft: Any) -> Any:
    if isinstance(state, dict):
        return {name: soft(value) for name, value in state.items()}
    if isinstance(state, tuple) and len(state) == 2:
        return tuple(_soften_state(part, soft) for part in state)
    return state
