"""Which part of a value cannot travel, found after pickling it failed.

The value is walked breadth first, so that the shortest path is reported. At each object one
question is asked: does *this* object, apart from its parts, refuse to be taken apart?
"""

from __future__ import annotations

import copyreg
import types
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from agentd.errors import SerializationError
from agentd.serialization import code, small
from agentd.serialization.definitions import functions_in
from agentd.serialization.importable import lookup
from agentd.serialization.refusals import refused_name

if TYPE_CHECKING:
    from agentd.serialization.contract import References

__all__ = ["explain"]

_OBJECTS: Final = 20_000
"""So many are looked at; a larger value is refused without a path rather than after minutes."""

_ATOMS: Final = (type(None), bool, int, float, complex, str, bytes, bytearray)
_LIVE_ADVICE: Final = (
    "Create the agent with to_dist=True so that __init__ runs in the daemon, "
    "or leave it out with __getstate__."
)
_ADVICE: Final = (
    "Send what it is made from instead (a path, an address, plain data), "
    "or leave it out with __getstate__."
)


def explain(
    error: Exception,
    roots: list[tuple[str, Any]],
    *,
    refs: References | None,
    keep: object,
) -> SerializationError:
    """The error to raise for a value that no pickler took. Makes it, does not raise it."""
    advice = _LIVE_ADVICE if keep is not None else _ADVICE
    root = roots[0][0] if len(roots) == 1 else "the arguments"
    if isinstance(error, RecursionError):
        return SerializationError(
            f"{root} is nested too deeply to travel. Send it in flatter pieces.",
            path=root,
            culprit="nesting",
        )
    try:
        found = _Search(refs, keep).first(roots)
    except Exception:  # noqa: BLE001  (code of the user ran: an error without a path is an error)
        found = None
    if found is None:
        culprit = getattr(error, "culprit", None) or type(roots[0][1]).__qualname__
        message = f"{root} cannot travel: {error}. {advice}".replace("..", ".")
        return SerializationError(message, path=root, culprit=culprit)
    path, culprit, reason = found
    because = f" ({reason})" if reason else ""
    return SerializationError(
        f"{path} cannot travel: {culprit}{because}. {advice}", path=path, culprit=culprit
    )


class _Search:
    def __init__(self, refs: References | None, keep: object) -> None:
        self.refs = refs
        self.keep = keep
        # The objects themselves are held, so that none of those made on the way is freed and
        # another one gets its id.
        self.seen: dict[int, Any] = {}

    def first(self, roots: list[tuple[str, Any]]) -> tuple[str, str, str] | None:
        todo: deque[tuple[str, Any, bool]] = deque((path, obj, False) for path, obj in roots)
        while todo and len(self.seen) < _OBJECTS:
            path, obj, in_code = todo.popleft()
            if any(type(obj) is atom for atom in _ATOMS) or id(obj) in self.seen:
                continue
            self.seen[id(obj)] = obj
            if in_code and small.is_lock(obj):
                continue
            try:
                for suffix, part, code_follows in self._parts(obj):
                    todo.append((path + suffix, part, in_code or code_follows))
            except _TiedError as tied:
                return path, tied.culprit, tied.reason
        return None

    def _is_reference(self, obj: Any) -> bool:
        refs = self.refs if obj is not self.keep else None
        return refs is not None and refs.to_wire(obj) is not None

    def _parts(self, obj: Any) -> Iterator[tuple[str, Any, bool]]:
        """Parts of ``obj`` with their names; `_TiedError` if it is itself the culprit."""
        kind = type(obj)
        if isinstance(obj, type) and issubclass(kind, type):
            yield from _parts_of_class(obj)
        elif kind is types.FunctionType:
            yield from _parts_of_function(obj)
        elif kind is types.ModuleType or self._is_reference(obj):
            return
        elif kind is dict or kind is types.MappingProxyType:
            for key, value in list(obj.items()):
                yield ".keys()", key, False
                yield f"[{_key(key)}]", value, False
        elif kind in (list, tuple, set, frozenset):
            for i, value in enumerate(obj):
                yield (f"[{i}]" if kind in (list, tuple) else "{…}"), value, False
        elif kind is types.CellType:
            yield ".cell_contents", obj.cell_contents, True
        else:
            yield from _parts_of_object(obj, kind)


class _TiedError(Exception):
    def __init__(self, culprit: str, reason: str = "") -> None:
        self.culprit = culprit
        self.reason = reason


def _key(key: Any) -> str:
    return f'"{key}"' if type(key) is str else repr(key)[:80]


def _parts_of_class(cls: type) -> Iterator[tuple[str, Any, bool]]:
    if code.by_name(cls, cls.__qualname__) or not cls.__flags__ & small.HEAP_TYPE:
        return
    for base in cls.__bases__:
        yield "", base, True
    for name, value in list(vars(cls).items()):
        if name in ("_abc_impl", "__dict__", "__weakref__"):
            continue
        inner = list(functions_in(value)) or [value]
        for part in inner:
            if not isinstance(part, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                yield f".{name}", part, True


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any, bool]]:
    if code.by_name(function, function.__qualname__):
        return
    names, modules = code.names_in(function)
    for name, value in names.items():
        yield f'.__globals__["{name}"]', value, True
    for module, parts in modules:
        for name, value in parts.items():
            yield f'.__globals__["{module.__name__}"].{name}', value, True
    free = function.__code__.co_freevars
    for name, cell in zip(free, function.__closure__ or (), strict=True):
        try:
            # What a closure holds is state, as an attribute is: no fresh locks there.
            yield f'.__closure__["{name}"]', cell.cell_contents, False
        except ValueError:
            continue  # An empty cell.
    for name in ("__defaults__", "__kwdefaults__", "__dict__"):
        if value := getattr(function, name):
            yield f".{name}", value, False


def _parts_of_object(obj: Any, kind: type) -> Iterator[tuple[str, Any, bool]]:
    name = refused_name(kind)
    if name is not None:
        raise _TiedError(name)
    if isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__, False
        yield ".__func__", obj.__func__, False
        return
    form = _form(obj, kind)
    if not isinstance(form, tuple):
        return
    yield "", kind, True
    for i, part in enumerate(form[1]):
        if part is not kind:
            yield f".__reduce__()[1][{i}]", part, False
    yield from _parts_of_state(form[2] if len(form) > 2 else None)
    for i, part in enumerate((form[3] or ()) if len(form) > 3 else ()):
        yield f"[{i}]", part, False
    for key, part in (form[4] or ()) if len(form) > 4 else ():
        yield f"[{_key(key)}]", part, False


def _form(obj: Any, kind: type) -> Any:
    """What pickle would be told about this object alone."""
    try:
        reducer = copyreg.dispatch_table.get(kind)
        form: Any = reducer(obj) if reducer is not None else obj.__reduce_ex__(5)
    except Exception as exc:
        if _dill_takes(obj, kind):
            return None
        raise _TiedError(_name(kind), str(exc)) from exc
    if isinstance(form, str) and lookup(getattr(obj, "__module__", None), form) is not obj:
        if _dill_takes(obj, kind):
            return None
        raise _TiedError(_name(kind), f"{form} is not found under that name")
    return form


def _dill_takes(obj: Any, kind: type) -> bool:
    from agentd.serialization import pickling

    if (
        any(kind is known for known in small.RULES)
        or (kind.__module__, kind.__qualname__) in small.NAMED_RULES
    ):
        return True
    deep = pickling.deep_pickler()
    try:
        if deep is not None:
            pickling.dump_with(deep, obj, refs=None)
            return True
    except Exception:  # noqa: BLE001  (whatever it is, dill does not take it)
        return False
    return False


def _name(kind: type) -> str:
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _parts_of_state(state: Any) -> Iterator[tuple[str, Any, bool]]:
    if isinstance(state, dict):
        for name, value in state.items():
            yield (f".{name}" if isinstance(name, str) else f"[{_key(name)}]"), value, False
    elif (
        isinstance(state, tuple)
        and len(state) == 2
        and all(isinstance(part, (dict, type(None))) for part in state)
    ):
        yield from _parts_of_state(state[0])
        yield from _parts_of_state(state[1])
    elif state is not None:
        yield ".__getstate__()", state, False
