"""The codecs ``pickle`` and ``dill:X.Y``: one set of rules, two picklers, one reader.

The C pickler does nearly all of the work; it asks `Rules` about everything that is not a built-in
value. dill is tried for the rest, under the same rules.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentd.errors import AgentdError, DecodeError, SerializationError
from agentd.serialization import code, definitions, failures, small, wire
from agentd.serialization.building import Builder, known_class, one_at_a_time
from agentd.serialization.importable import module_here

if TYPE_CHECKING:
    from agentd.serialization.contract import References

__all__ = ["CODE_CODEC", "Fast", "Rules", "deep_pickler", "dump_with", "read"]

CODE_CODEC: Final = f"dill:{sys.version_info.major}.{sys.version_info.minor}"

_WIRE: Final = wire.MODULE
_EVERY_RULE: Final[dict[type, Callable[[Any, Any], Any]]] = {
    **small.RULES,
    types.CodeType: code.reduce_code,
    types.CellType: code.reduce_cell,
    types.ModuleType: code.reduce_module,
    code.Globals: code.reduce_globals,
}
# By identity: a metaclass may have made its classes unhashable.
_BY_TYPE: Final = {id(kind): rule for kind, rule in _EVERY_RULE.items()}


class Rules:
    """What is decided per object, for both picklers.

    ``keep`` is the object that must not become a reference (the agent itself, when its state is
    sent). ``inline`` is set for the definition of a class: classes that it refers to are then
    written into the same stream, and locks are made anew. ``soften`` replaces a part of an
    exception that cannot travel, or must not.
    """

    refs: References | None = None
    keep: object = None
    inline = False
    soften: Callable[[Any], Any] | None = None
    has_code = False
    has_failures = False
    scope: code.Scope

    def reducer_override(self, obj: Any) -> Any:
        """What both picklers ask about every object that is not a built-in value."""
        kind = type(obj)
        if kind is types.FunctionType:
            return self._function(obj)
        rule = _BY_TYPE.get(id(kind))
        if rule is not None:
            return rule(self, obj)
        if issubclass(kind, type):
            return self._class(obj)
        if (
            self.refs is not None
            and obj is not self.keep
            and (link := self.refs.to_wire(obj)) is not None
        ):
            return wire.reference, link
        if issubclass(kind, BaseException):
            self.has_failures = True
            return failures.reduce_exception(self, obj)
        named = small.NAMED_RULES.get((kind.__module__, kind.__qualname__))
        return named(self, obj) if named is not None else NotImplemented

    def is_fresh(self, obj: Any) -> bool:
        """Whether it belongs to code, which makes its own on the other side."""
        return self.inline or id(obj) in self.scope.fresh

    def _function(self, obj: types.FunctionType) -> Any:
        if obj.__module__ == _WIRE or code.by_name(obj, obj.__qualname__):
            return NotImplemented
        self.has_code = True
        return code.reduce_function(self, obj)

    def _class(self, obj: type) -> Any:
        if code.by_name(obj, obj.__qualname__):
            return NotImplemented
        if not obj.__flags__ & small.HEAP_TYPE:
            return small.reduce_builtin_type(obj)
        self.has_code = True
        definition = definitions.define(obj, code.references_of)
        if self.inline:
            return code.reduce_class(self, obj, definition.ident, definition.digest)
        if definition.blob is None:
            definition.blob = _define_blob(obj, self.refs)
        return wire.restore, (
            definition.ident,
            definition.module,
            definition.qualname,
            definition.digest,
            definition.blob,
        )

    def begin(self, refs: References | None, keep: object, soften: Any, *, inline: bool) -> None:
        """Before the first object. Not ``__init__``, so that each pickler keeps its own."""
        self.refs = refs
        self.keep = keep
        self.soften = soften
        self.inline = inline
        self.scope = code.Scope()


class Fast(Rules, pickle.Pickler):
    """The C pickler under our rules."""


@functools.cache
def deep_pickler() -> type[Any] | None:
    """The pickler of dill under our rules; ``None`` where dill is not installed."""
    try:
        import dill
    except ImportError:
        return None
    from agentd.serialization.refusals import refused_name

    class Deep(Rules, dill.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # dill would make a second lock, open the file again, ...: not the same thing there.
            name = refused_name(type(obj))
            if name is not None and not (small.is_lock(obj) and self.is_fresh(obj)):
                raise SerializationError(f"{name} cannot travel.", culprit=name)
            return super().reducer_override(obj)

    return Deep


def dump_with(
    maker: Any,
    value: Any,
    *,
    refs: References | None,
    keep: object = None,
    soften: Callable[[Any], Any] | None = None,
    inline: bool = False,
) -> tuple[Rules, bytes, list[Any]]:
    """Pickle ``value`` with one of the two picklers; what it met is in the rules returned."""
    file = io.BytesIO()
    buffers: list[Any] = []
    # A definition is one piece: it is kept, and travels within other pickles.
    out = None if inline else buffers.append
    if maker is Fast:
        pickler = maker(file, 5, buffer_callback=out)
    else:
        pickler = maker(file, 5, byref=False, recurse=True, buffer_callback=out)
    pickler.begin(refs, keep, soften, inline=inline)
    pickler.dump(value)
    return pickler, file.getvalue(), buffers


def _define_blob(cls: type, refs: References | None) -> bytes:
    try:
        return dump_with(Fast, cls, refs=refs, inline=True)[1]
    except Exception:
        deep = deep_pickler()
        if deep is None:
            raise
        return dump_with(deep, cls, refs=refs, inline=True)[1]


# -- reading ------------------------------------------------------------------------------------


class _Reader(pickle.Unpickler):
    """The C unpickler, with the words of `wire` that depend on who reads."""

    def __init__(
        self,
        head: Any,
        buffers: Iterable[Any],
        refs: References | None,
        *,
        may_import: bool,
        builder: Builder | None = None,
    ) -> None:
        super().__init__(io.BytesIO(head), buffers=buffers)
        self._refs = refs
        self._may_import = may_import
        self._builder = builder

    def find_class(self, module: str, name: str) -> Any:
        """A word of `wire`, bound to this reader, or something that is installed here."""
        if module == _WIRE:
            if name in ("new_class", "fill_class"):
                if self._builder is None:
                    raise DecodeError("a class definition outside of `restore`.")
                return getattr(self._builder, name)
            if name == "restore":
                return self.restore
            if name == "reference":
                return self.reference
            if name == "new_module":
                return self.new_module
            return getattr(wire, name)
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as exc:
            raise DecodeError(
                f"{module}.{name} is not available here ({exc}). Install the same version of it "
                "on both sides.",
                culprit=f"{module}.{name}",
            ) from exc

    def reference(self, *link: Any) -> object:
        """See `wire.reference`."""
        if self._refs is None:
            raise DecodeError("the payload holds a reference to an agent; none is expected here.")
        return self._refs.from_wire(link)

    def new_module(
        self, name: str, file: str | None, doc: str | None, digest: bytes = b""
    ) -> types.ModuleType:
        """See `wire.new_module`."""
        here: Any = module_here(name, digest, may_import=self._may_import)
        if isinstance(here, types.ModuleType):
            return here
        return wire.new_module(name, file, doc)

    def restore(self, ident: bytes, module: str, qualname: str, digest: bytes, blob: bytes) -> type:
        """See `wire.restore`. A definition is read at most once in a process."""
        may_import = self._may_import
        known = known_class(ident, module, qualname, digest, may_import=may_import)
        if known is not None:
            return known
        with one_at_a_time():
            builder = Builder(may_import=may_import)
            made: type = _Reader(
                blob, (), self._refs, may_import=may_import, builder=builder
            ).load()
            builder.commit(ident, blob)
            # The id may have got its meaning in the meantime, from the same definition.
            return definitions.class_of(ident) or made


def read(head: Any, buffers: Sequence[Any], *, refs: References | None, may_import: bool) -> Any:
    """Read either codec. Whatever fails is a `DecodeError`, with the reason as its cause."""
    try:
        return _Reader(head, map(_writable, buffers), refs, may_import=may_import).load()
    except AgentdError:
        raise
    except RecursionError as exc:
        raise DecodeError("the payload is nested too deeply to be read here.") from exc
    except Exception as exc:
        raise DecodeError(f"the payload cannot be rebuilt here: {exc!r}") from exc


def _writable(buffer: Any) -> Any:
    """What arrived read-only is copied, so that an array can be written to as at its origin."""
    view = memoryview(buffer)
    return bytearray(view) if view.readonly else buffer
