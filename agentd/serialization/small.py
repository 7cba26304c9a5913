"""Small things that pickle has no form of, each with its own: the two tables of `pickling`."""

from __future__ import annotations

import _thread
import contextvars
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any, Final

from agentd.serialization import wire
from agentd.serialization.importable import is_foreign, lookup

if TYPE_CHECKING:
    from agentd.serialization.pickling import Rules

__all__ = ["HEAP_TYPE", "NAMED_RULES", "RULES", "is_lock", "reduce_builtin_type"]

HEAP_TYPE: Final = 1 << 9
"""The flag of types that were made by a ``class`` statement (``Py_TPFLAGS_HEAPTYPE``)."""


def reduce_builtin_type(cls: type) -> Any:
    """A built-in type that is not found under its own name, such as that of functions."""
    for name in types.__all__:
        if getattr(types, name) is cls:
            return getattr, (types, name)
    return NotImplemented


def _property(rules: Rules, obj: property) -> Any:
    return property, (obj.fget, obj.fset, obj.fdel, obj.__doc__)


def _method_kind(rules: Rules, obj: Any) -> Any:
    # Their __dict__ only repeats what the function has, except __isabstractmethod__ of it.
    return type(obj), (obj.__func__,)


def _mapping_proxy(rules: Rules, obj: Any) -> Any:
    return types.MappingProxyType, (dict(obj),)


def _lock(rules: Rules, obj: Any) -> Any:
    # As an import of the module there would do. In a value, a lock is refused.
    if rules.is_fresh(obj):
        return wire.new_lock, (_LOCK_NAMES[id(type(obj))],)
    return NotImplemented


_LOCK_NAMES: Final = {
    id(_thread.LockType): "Lock",
    id(_thread.RLock): "RLock",
    id(_thread._local): "local",
}


def is_lock(obj: Any) -> bool:
    """Whether it is what a module makes for itself on import, and code by value therefore, too."""
    return id(type(obj)) in _LOCK_NAMES


def _context_var(rules: Rules, obj: contextvars.ContextVar[Any]) -> Any:
    try:
        # In an empty context, what is left is the default.
        default = (contextvars.Context().run(obj.get),)
    except LookupError:
        return wire.new_context_var, (obj.name,)
    return wire.new_context_var, (obj.name, *default)


def _cached_property(rules: Rules, obj: Any) -> Any:
    return wire.new_cached_property, (obj.func, obj.attrname, obj.__doc__)


def _lru_cache(rules: Rules, obj: Any) -> Any:
    if not is_foreign(obj.__module__) and lookup(obj.__module__, obj.__qualname__) is obj:
        return NotImplemented
    parameters = obj.cache_parameters()
    rules.has_code = True
    return wire.new_lru_cache, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])


def _weak_mapping(rules: Rules, obj: Any) -> Any:
    return type(obj), (dict(obj),)


def _weak_set(rules: Rules, obj: Any) -> Any:
    return type(obj), (list(obj),)


def _sentinel(rules: Rules, obj: Any) -> Any:
    """A marker that is compared by identity."""
    module = type(obj).__module__
    for name, value in vars(sys.modules[module]).items():
        if value is obj:
            return getattr, (sys.modules[module], name)
    return NotImplemented


def _type_variable(rules: Rules, obj: Any) -> Any:
    if not is_foreign(obj.__module__) and lookup(obj.__module__, obj.__name__) is obj:
        return NotImplemented
    rules.has_code = True
    kind = type(obj).__qualname__
    attributes = {"__module__": obj.__module__}
    if kind == "NewType":
        args: tuple[Any, ...] = (obj.__supertype__,)
        attributes["__qualname__"] = obj.__qualname__
    else:
        args = obj.__constraints__ if kind == "TypeVar" else ()
    arguments: dict[str, Any] = {}
    if kind in ("TypeVar", "ParamSpec"):
        arguments = {
            "bound": obj.__bound__,
            "covariant": obj.__covariant__,
            "contravariant": obj.__contravariant__,
        }
    options = {"arguments": arguments, "attributes": attributes}
    return wire.new_type_variable, (kind, obj.__name__, args, options)


RULES: Final[dict[type, Any]] = {
    property: _property,
    staticmethod: _method_kind,
    classmethod: _method_kind,
    types.MappingProxyType: _mapping_proxy,
    weakref.WeakKeyDictionary: _weak_mapping,
    weakref.WeakValueDictionary: _weak_mapping,
    weakref.WeakSet: _weak_set,
    _thread.LockType: _lock,
    _thread.RLock: _lock,
    _thread._local: _lock,
    contextvars.ContextVar: _context_var,
}

# By name, so that none of these modules is imported for it.
NAMED_RULES: Final[dict[tuple[str, str], Any]] = {
    ("functools", "cached_property"): _cached_property,
    ("functools", "_lru_cache_wrapper"): _lru_cache,
    ("dataclasses", "_MISSING_TYPE"): _sentinel,
    ("dataclasses", "_FIELD_BASE"): _sentinel,
    ("dataclasses", "_KW_ONLY_TYPE"): _sentinel,
    ("dataclasses", "_HAS_DEFAULT_FACTORY_CLASS"): _sentinel,
    ("typing", "TypeVar"): _type_variable,
    ("typing", "ParamSpec"): _type_variable,
    ("typing", "TypeVarTuple"): _type_variable,
    ("typing", "NewType"): _type_variable,
}
