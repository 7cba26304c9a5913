"""Functions and classes by value: how they are taken apart.

Everything that can be part of a cycle (a function and its globals, a class and its methods, a
cell and its content) is written as an empty shell first and filled afterwards, so that the content
may refer to the shell. `wire` has the other half, `building` that of classes.
"""

from __future__ import annotations

import marshal
import sys
import types
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from agentd.errors import SerializationError
from agentd.serialization import wire
from agentd.serialization.definitions import REGISTERED, Reference, functions_in, is_code
from agentd.serialization.importable import digest_of, is_foreign, lookup
from agentd.serialization.small import is_lock

if TYPE_CHECKING:
    from agentd.serialization.pickling import Rules

__all__ = ["Scope", "by_name", "reduce_cell", "reduce_class", "reduce_function", "reduce_module"]

_UNSET: Final = object()


def by_name(obj: Any, qualname: str) -> bool:
    """Whether a peer finds this class or function under its own name."""
    module = getattr(obj, "__module__", None)
    if is_foreign(module) or "<" in qualname:  # "<locals>", "<lambda>"
        return False
    return lookup(module, qualname) is obj


class Globals:
    """Stands for one module's globals within one pickle: all its functions there share one dict."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names


class Scope:
    """What one pickler has already taken apart, by identity."""

    __slots__ = ("cells", "fresh", "globals", "modules")

    def __init__(self) -> None:
        self.cells: set[int] = set()
        self.fresh: set[int] = set()
        self.globals: dict[int, Globals] = {}
        self.modules: set[int] = set()

    def globals_of(self, function: types.FunctionType) -> Globals:
        """What stands for the globals of that function."""
        names = function.__globals__
        return self.globals.setdefault(id(names), Globals(names))


# -- functions ----------------------------------------------------------------------------------


def reduce_globals(rules: Rules, obj: Globals) -> tuple[Any, ...]:
    """Only what every module has; each function adds the names that it uses."""
    names = obj.names
    file = names.get("__file__")
    return wire.new_globals, (
        names.get("__name__"),
        names.get("__package__"),
        file if isinstance(file, str) else None,
    )


def reduce_function(rules: Rules, function: types.FunctionType) -> tuple[Any, ...]:
    """Its code first, then what it closes over, its defaults and the globals that it uses."""
    scope = rules.scope
    cells = function.__closure__ or ()
    scope.cells.update(map(id, cells))
    names, modules = names_in(function)
    scope.modules.update(id(module) for module, _ in modules)
    for part in (names, *(parts for _, parts in modules)):
        scope.fresh.update(id(value) for value in part.values() if is_lock(value))
    attributes: dict[str, Any] = {
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
    }
    for key in ("__defaults__", "__kwdefaults__", "__annotations__", "__type_params__"):
        if value := getattr(function, key, None):
            attributes[key] = value
    state = {
        "globals": names,
        "cells": [(cell, value) for cell in cells if (value := _content(cell)) is not _UNSET],
        "modules": modules,
        "attributes": attributes,
        "dict": function.__dict__,
    }
    shell = (function.__code__, scope.globals_of(function), function.__name__, function.__closure__)
    return wire.new_function, shell, state, None, None, wire.fill_function


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Empty: a variable that has not been assigned yet.
        return _UNSET


def reduce_code(rules: Rules, code: types.CodeType) -> tuple[Any, ...]:
    """In the interpreter's own form, which is that of one minor version."""
    return wire.new_code, (marshal.dumps(code),)


def reduce_cell(rules: Rules, cell: types.CellType) -> tuple[Any, ...]:
    """A variable that functions share: they still share it on the other side."""
    # A function that has the cell fills it itself, once it exists.
    if id(cell) in rules.scope.cells:
        return wire.new_cell, ()
    rules.scope.cells.add(id(cell))
    content = _content(cell)
    if content is _UNSET:
        return wire.new_cell, ()
    return wire.new_cell, (), (content,), None, None, wire.fill_cell


# Keyed weakly: code objects of functions that are gone are not kept.
_used_names: weakref.WeakKeyDictionary[types.CodeType, tuple[frozenset[str], frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)


def used_names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Global names that the code reads or writes, and all names in it (attributes included)."""
    known = _used_names.get(code)
    if known is not None:
        return known
    import dis

    found = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME")
        or instruction.opname == "LOAD_FROM_DICT_OR_GLOBALS"
    }
    every = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, inner_every = used_names(constant)
            found |= inner
            every |= inner_every
    answer = frozenset(found), frozenset(every)
    _used_names[code] = answer
    return answer


def names_in(
    function: types.FunctionType,
) -> tuple[dict[str, Any], list[tuple[Any, dict[str, Any]]]]:
    """The globals a function uses, and what it uses of modules that the peer lacks."""
    used, every = used_names(function.__code__)
    have = function.__globals__
    names = {name: have[name] for name in sorted(used) if name in have and name[:2] != "__"}
    modules: list[tuple[Any, dict[str, Any]]] = []
    for value in list(names.values()):
        if isinstance(value, types.ModuleType):
            _parts_of(value, every, modules)
    return names, modules


def _parts_of(
    module: types.ModuleType, every: frozenset[str], found: list[tuple[Any, dict[str, Any]]]
) -> None:
    """Add what code with these names may use of a module.

    Of one that the peer lacks: the attributes of that name. Of a package that it has: the loaded
    submodules, which it has to import as well.
    """
    if any(module is other for other, _ in found):
        return
    if is_foreign(module.__name__):
        parts = {name: value for name, value in vars(module).items() if name in every}
        found.append((module, parts))
        for value in parts.values():
            if isinstance(value, types.ModuleType):
                _parts_of(value, every, found)
    elif hasattr(module, "__path__"):
        prefix = module.__name__ + "."
        for name, sub in list(sys.modules.items()):
            if name.startswith(prefix) and every.issuperset(name[len(prefix) :].split(".")):
                found.append((sub, {}))


def reduce_module(rules: Rules, module: types.ModuleType) -> tuple[Any, ...]:
    """By name if the peer has it, else an empty one that the functions using it fill."""
    name = module.__name__
    if not is_foreign(name):
        return wire.import_module, (name,)
    if id(module) not in rules.scope.modules:
        raise SerializationError(
            f"module {name} is not installed where the value goes.", culprit=f"module {name}"
        )
    file, digest = getattr(module, "__file__", None), b""
    if sys.modules.get(name) is module and name != "__main__":
        digest = digest_of(name)
    return wire.new_module, (name, file, module.__doc__, digest)


# -- classes ------------------------------------------------------------------------------------

_AT_ONCE: Final = ("__module__", "__slots__", "__orig_bases__")
_LEFT_OUT: Final = frozenset(
    {
        "__dict__",
        "__weakref__",
        "__module__",
        "__qualname__",
        "__slots__",
        "_abc_impl",
        "_abc_registry",
        "_abc_cache",
        "_abc_negative_cache",
        "_abc_negative_cache_version",
        REGISTERED,
    }
)
_LEFT_OUT_OF_ENUM: Final = frozenset({"_member_map_", "_member_names_", "_value2member_map_"})


def reduce_class(rules: Rules, cls: type, ident: bytes, digest: bytes) -> tuple[Any, ...]:
    """The definition of a class, as it stands in its own blob and in those of its relatives."""
    spec: dict[str, Any] = {
        "name": cls.__name__,
        "bases": cls.__bases__,
        # What only has an effect, or is only allowed, while the class is made.
        "content": {name: vars(cls)[name] for name in _AT_ONCE if name in vars(cls)},
    }
    spec["content"]["__qualname__"] = cls.__qualname__
    # Under `new_class` the metaclass is called by nobody: its work is in the attributes already.
    return (
        wire.new_class,
        (ident, digest, type(cls), spec),
        _class_state(cls),
        None,
        None,
        wire.fill_class,
    )


def _class_state(cls: type) -> dict[str, Any]:
    state: dict[str, Any] = {}
    content = {
        name: value
        for name, value in vars(cls).items()
        if name not in _LEFT_OUT and not isinstance(value, types.MemberDescriptorType)
    }
    if _is_enum(cls):
        members = content["_member_map_"]
        state["members"] = [_member_state(name, member) for name, member in members.items()]
        content = {
            name: value
            for name, value in content.items()
            if name not in _LEFT_OUT_OF_ENUM and name not in members
        }
    state["attributes"] = content
    if "_abc_impl" in vars(cls):
        import _abc  # type: ignore[import-not-found,unused-ignore]

        registered = [ref() for ref in _abc._get_dump(cls)[0]]
        state["registered"] = [other for other in registered if other is not None]
    return state


def _is_enum(cls: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(cls, enum.EnumMeta)


def _member_state(name: str, member: Any) -> tuple[Any, ...]:
    """A member as it is: neither ``__new__`` nor ``__init__`` of the user runs for it again."""
    data = next(
        (base for base in type(member).__mro__ if "__getnewargs__" in vars(base)),
        None,
    )
    args = data.__getnewargs__(member) if data is not None else ()  # type: ignore[attr-defined]
    attributes = {key: value for key, value in vars(member).items() if key != "__objclass__"}
    return name, member.name, data, args, attributes


# -- what a definition refers to ----------------------------------------------------------------


def references_of(item: Any) -> Iterator[Reference]:
    """The names that a class or function depends on, one step deep, if it travels by value."""
    if by_name(item, item.__qualname__):
        return
    if isinstance(item, type):
        yield from _references_of_class(item)
    else:
        yield from _references_of_function(item)


def _references_of_class(cls: type) -> Iterator[Reference]:
    for base in (*cls.__bases__, type(cls)):
        yield Reference(None, "", "", base)
    for name, value in vars(cls).items():
        if name in _LEFT_OUT or isinstance(value, types.MemberDescriptorType):
            continue
        if is_code(value):
            yield Reference(cls, "attributes", name, value)
        for part in functions_in(value):
            yield Reference(None, "", "", part)


def _references_of_function(function: types.FunctionType) -> Iterator[Reference]:
    names, modules = names_in(function)
    for name, value in names.items():
        yield Reference(function, "globals", name, value)
    for module, parts in modules:
        for name, value in parts.items():
            yield Reference(module, "attributes", name, value)
    for number, cell in enumerate(function.__closure__ or ()):
        if isinstance(value := _content(cell), (type, types.FunctionType)):
            yield Reference(function, "cells", number, value)
    for value in vars(function).values():  # __wrapped__
        if isinstance(value, (type, types.FunctionType)):
            yield Reference(None, "", "", value)
