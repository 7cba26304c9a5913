"""Classes by value: how they are put together again.

One definition is built at a time in a process, so that two threads that receive the same class at
once end with one class.
"""

from __future__ import annotations

import abc
import os
import threading
from typing import Any

from agentd.serialization import definitions
from agentd.serialization.importable import find_here

__all__ = ["Builder", "known_class", "one_at_a_time"]

_lock = threading.RLock()


def one_at_a_time() -> threading.RLock:
    """The lock that is held while a definition is read."""
    return _lock


def _after_fork() -> None:
    """The thread that held the lock may not exist in the child."""
    global _lock  # noqa: PLW0603  (the one state of this file)
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def known_class(
    ident: bytes, module: str, qualname: str, digest: bytes, *, may_import: bool
) -> type | None:
    """The class that this process has for a definition that arrived.

    First what the id already means here, so that it never changes its meaning; then a module of
    this process that was made from the same source.
    """
    known = definitions.class_of(ident)
    if known is not None:
        return known
    here = find_here(module, qualname, digest, may_import=may_import)
    if isinstance(here, type):
        return definitions.adopt(here, ident, digest)
    return None


class Builder:
    """Builds the classes of one definition; `commit` publishes them when all of it was read.

    Until then they are known to nobody else, so that a definition that fails half-way leaves
    nothing behind.
    """

    def __init__(self, *, may_import: bool) -> None:
        self.may_import = may_import
        self.made: dict[bytes, tuple[type, bytes]] = {}

    def new_class(self, ident: bytes, digest: bytes, meta: type, spec: dict[str, Any]) -> type:
        """The class that the id means here, or one without content."""
        if ident in self.made:
            return self.made[ident][0]
        module, qualname = spec["content"]["__module__"], spec["content"]["__qualname__"]
        known = known_class(ident, module, qualname, digest, may_import=self.may_import)
        if known is not None:
            return known
        cls = _bare_class(meta, spec)
        self.made[ident] = (cls, digest)
        return cls

    def fill_class(self, cls: type, state: dict[str, Any]) -> None:
        """Give a class its content, if it was made by this builder."""
        if all(cls is not made for made, _ in self.made.values()):
            return  # It was known here, complete.
        if "members" in state:
            # Before the attributes: those of an enum include its numbers of members and flags.
            _fill_enum(cls, state["members"])
        for name, value in state["attributes"].items():
            # Not setattr: a metaclass may guard its classes (Enum does), and this is no assignment.
            type.__setattr__(cls, name, value)
        for other in state.get("registered", ()):
            cls.register(other)  # type: ignore[attr-defined]
        if state.get("registered"):
            # The registry is weak, and here nobody else may have them yet. One that was let go and
            # came again would be another class, which nobody registered.
            type.__setattr__(cls, definitions.REGISTERED, tuple(state["registered"]))

    def commit(self, ident: bytes, blob: bytes) -> None:
        """All was read: from now on the ids mean these classes in this process."""
        for made, (cls, digest) in self.made.items():
            definitions.adopt(cls, made, digest, blob if made == ident else None)


class _Quiet:
    """Put before the bases while a class is made: keeps their ``__init_subclass__`` from running.

    It ran where the class was defined, and what it did to the class arrives with the attributes.
    """

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if not getattr(_making, "now", False):
            super().__init_subclass__(**kwargs)


_making = threading.local()


def _bare_class(meta: type, spec: dict[str, Any]) -> type:
    """The class without content. No code of the user runs, of its metaclass or of its bases."""
    # ABCMeta's own part is the one that cannot be copied: isinstance needs its private record.
    maker: Any = abc.ABCMeta if issubclass(meta, abc.ABCMeta) else type
    bases: tuple[type, ...] = spec["bases"]
    if not any(map(_has_hook, bases)):
        cls: type = maker.__new__(meta, spec["name"], bases, spec["content"])
        return cls
    _making.now = True
    try:
        cls = maker.__new__(meta, spec["name"], (_Quiet, *bases), spec["content"])
    finally:
        _making.now = False
    try:
        cls.__bases__ = bases
    except TypeError:
        # CPython finds the memory layouts too different. It stays, then, and does nothing more.
        pass
    return cls


def _has_hook(base: type) -> bool:
    """Whether making a subclass runs code. That of typing is harmless, and may run again."""
    return any(
        "__init_subclass__" in vars(cls) and cls.__module__ != "typing"
        for cls in base.__mro__
        if cls is not object
    )


def _fill_enum(cls: type, members: list[tuple[Any, ...]]) -> None:
    by_name: dict[str, Any] = {}
    names: list[str] = []
    by_value: dict[Any, Any] = {}
    for name, own_name, data, args, attributes in members:
        if name != own_name:  # An alias.
            by_name[name] = by_name[own_name]
            type.__setattr__(cls, name, by_name[own_name])
            continue
        member = object.__new__(cls) if data is None else data.__new__(cls, *args)
        vars(member).update(attributes)
        member.__objclass__ = cls
        by_name[name] = member
        names.append(name)
        try:
            by_value.setdefault(member._value_, member)
        except TypeError:
            pass  # Unhashable: Enum looks through the members then.
        type.__setattr__(cls, name, member)
    type.__setattr__(cls, "_member_map_", by_name)
    type.__setattr__(cls, "_member_names_", names)
    type.__setattr__(cls, "_value2member_map_", by_value)
