"""Which class is which: identities of classes that travel by value.

Every such class gets an id when it is first sent: random bytes of the process and a serial number.
The id stands for the class *as it was defined then*. If something that its code refers to has been
bound anew since (a notebook cell that was run again), it is sent under a new id. A process keeps
one class for each id that it has made or met, so two payloads that name one id share one class,
and a class that comes home is the original again. What was changed in place, such as a dict in a
global variable, arrives as it was when the class was first sent: that makes no new definition.

The two tables below are the only state of this room. Both hold classes weakly.
"""

from __future__ import annotations

import os
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from agentd.serialization.importable import digest_of

__all__ = ["REGISTERED", "Definition", "adopt", "class_of", "define", "definition_of"]

REGISTERED: Final = "_agentd_registered"
"""An attribute of an abstract class that was built here: keeps alive what is registered with it."""
_MISSING: Final = object()
_CONSTANTS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})


class Definition:
    """One class at one moment. ``blob`` is its pickled content, made when it is first needed."""

    __slots__ = ("blob", "depends", "digest", "ident", "module", "qualname")

    def __init__(self, ident: bytes, module: str, qualname: str, digest: bytes) -> None:
        self.ident = ident
        self.module = module
        self.qualname = qualname
        self.digest = digest
        self.blob: bytes | None = None
        self.depends: list[_Dependency | _Shape] = []

    def is_current(self) -> bool:
        """Whether all that the class's code refers to is still what it was."""
        return all(dependency.holds() for dependency in self.depends)


# Guards both tables and the serial number. Never held while code of the user runs.
_lock = threading.Lock()
_definitions: dict[int, tuple[weakref.ref[type], Definition]] = {}
_classes: weakref.WeakValueDictionary[bytes, type] = weakref.WeakValueDictionary()
_nonce = os.urandom(12)
_serial = 0


def _after_fork() -> None:
    """A child makes its own ids; those made before the fork mean the same classes in both."""
    global _lock, _nonce  # noqa: PLW0603  (the documented state of this room)
    _lock = threading.Lock()
    _nonce = os.urandom(12)


os.register_at_fork(after_in_child=_after_fork)


def class_of(ident: bytes) -> type | None:
    """The class with that id: the original, or the one that was made for it earlier."""
    return _classes.get(ident)


def define(cls: type, references_of: Callable[[Any], Iterator[Reference]]) -> Definition:
    """The current definition of a class. ``references_of`` lists what a class or function uses."""
    known = definition_of(cls)
    if known is not None:
        return known
    depends = _dependencies(cls, references_of)
    global _serial  # noqa: PLW0603  (as above)
    with _lock:
        known = definition_of(cls)  # Another thread may have been faster.
        if known is not None:
            return known
        _serial += 1
        ident = _nonce + _serial.to_bytes(4, "big")
        made = Definition(ident, cls.__module__, cls.__qualname__, digest_of(cls.__module__))
        made.depends = depends
        _remember(cls, made)
    return made


def adopt(cls: type, ident: bytes, digest: bytes, blob: bytes | None = None) -> type:
    """Note that the id means ``cls`` here, and that ``cls`` travels on under it.

    Returns the class that the id means, which is another one if two threads came at once.
    """
    with _lock:
        known = _classes.setdefault(ident, cls)
        if known is cls and id(cls) not in _definitions:
            made = Definition(ident, cls.__module__, cls.__qualname__, digest)
            made.blob = blob
            _remember(cls, made)
    return known


def definition_of(cls: type) -> Definition | None:
    """What was sent of the class last, if it was sent by value and is still that."""
    entry = _definitions.get(id(cls))
    if entry is not None and entry[0]() is cls and entry[1].is_current():
        return entry[1]
    return None


def _remember(cls: type, definition: Definition) -> None:
    key = id(cls)

    def forget(ref: weakref.ref[type]) -> None:
        entry = _definitions.get(key)
        if entry is not None and entry[0] is ref:
            del _definitions[key]

    # By identity, not by hash: a metaclass may have made its classes unhashable or equal.
    _definitions[key] = (weakref.ref(cls, forget), definition)
    _classes[definition.ident] = cls


# -- what a definition depends on ---------------------------------------------------------------


class Reference:
    """A name that code refers to: in the globals of ``owner``, its attributes or its cells."""

    __slots__ = ("name", "owner", "value", "where")

    def __init__(self, owner: Any, where: str, name: Any, value: Any) -> None:
        self.owner = owner
        self.where = where
        self.name = name
        self.value = value


class _Dependency:
    """A `Reference` as it was.

    Functions, classes and modules are held weakly, and descriptors by the functions in them: what
    a definition depends on refers back to the class as a rule, which would then live for ever.
    """

    __slots__ = ("is_weak", "name", "owner", "parts", "value", "where")

    def __init__(self, reference: Reference) -> None:
        self.owner = weakref.ref(reference.owner)
        self.where = reference.where
        self.name = reference.name
        self.is_weak = True
        self.parts: tuple[weakref.ref[Any], ...] = ()
        try:
            self.value: Any = weakref.ref(reference.value)
        except TypeError:
            self.is_weak = False
            self.value = reference.value
            if parts := functions_in(reference.value):
                self.parts = tuple(map(weakref.ref, parts))
                self.value = type(reference.value)

    def holds(self) -> bool:
        owner = self.owner()
        if owner is None:
            return False
        now = look(owner, self.where, self.name)
        if self.parts:
            return type(now) is self.value and functions_in(now) == [ref() for ref in self.parts]
        then = self.value() if self.is_weak else self.value
        if now is then:
            return True
        # A cell that was run again binds an equal constant: the same definition.
        return type(now) is type(then) and type(now) in _CONSTANTS and now == then


class _Shape:
    """Which methods a class has. A new plain attribute (a counter, a cache) changes nothing."""

    __slots__ = ("owner", "size", "value")

    def __init__(self, cls: type) -> None:
        self.owner = weakref.ref(cls)
        self.size = len(vars(cls))
        self.value = _methods(cls)

    def holds(self) -> bool:
        cls = self.owner()
        if cls is None:
            return False
        return len(vars(cls)) == self.size or _methods(cls) == self.value


def _methods(cls: type) -> frozenset[str]:
    return frozenset(name for name, value in vars(cls).items() if is_code(value))


def is_code(value: Any) -> bool:
    """Whether a class attribute is part of what the class does, rather than a value it has."""
    return isinstance(value, type) or hasattr(type(value), "__get__")


def functions_in(value: Any) -> list[Any]:
    """The functions inside a descriptor: a property, a classmethod, a decorator's object."""
    found = []
    if not isinstance(value, (type, types.FunctionType)) and is_code(value):
        for name in ("__func__", "__wrapped__", "fget", "fset", "fdel", "func"):
            part = getattr(value, name, None)
            if isinstance(part, types.FunctionType):
                found.append(part)
    return found


def look(owner: Any, where: str, name: Any) -> Any:
    """What ``owner`` has under that name now."""
    if where == "globals":
        return owner.__globals__.get(name, _MISSING)
    if where == "cells":
        try:
            return owner.__closure__[name].cell_contents
        except ValueError:  # Empty: not assigned yet.
            return _MISSING
    return vars(owner).get(name, _MISSING)


def _dependencies(
    cls: type, references_of: Callable[[Any], Iterator[Reference]]
) -> list[_Dependency | _Shape]:
    found: list[_Dependency | _Shape] = []
    seen: set[int] = set()
    todo: list[Any] = [cls]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        references = list(references_of(item))
        if references and isinstance(item, type):
            found.append(_Shape(item))
        for reference in references:
            if reference.owner is not None:
                found.append(_Dependency(reference))
            if isinstance(reference.value, (type, types.FunctionType)):
                todo.append(reference.value)
    return found
