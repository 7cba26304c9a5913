"""The payloads that the protocol speaks of: a value, a call, an object, a specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgpack

from agentd.errors import DecodeError
from agentd.serialization.contract import Encoded, References
from agentd.serialization.data import Form
from agentd.serialization.importable import digest_of, lookup
from agentd.serialization.ladder import climb, pickled, read
from agentd.serialization.plain import INT_END, INT_MIN

__all__ = [
    "decode",
    "decode_call",
    "decode_spec",
    "encode",
    "encode_call",
    "encode_object",
    "encode_spec",
    "import_class",
    "plain_call",
    "plain_value",
]

GLANCE: Final = 8
SHORT: Final = 1024
_packb = msgpack.packb
_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})


def encode(
    value: Any, *, refs: References | None = None, root: str = "value", data_only: bool = False
) -> Encoded:
    """Encode one value. ``root`` is what errors call it. Raises ``SerializationError``."""
    return climb(
        value,
        value,
        refs=refs,
        layout=lambda form: form(value, root, 0),
        roots=lambda: [(root, value)],
        data_only=data_only,
    )


def decode(
    codec: str,
    head: Any,
    buffers: Sequence[Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
    may_import: bool = False,
) -> Any:
    """Rebuild what `encode` or `encode_object` made.

    ``data_only`` refuses every codec that can run code. ``may_import`` allows to import a module
    from ``sys.path`` for a class that travels by value, if its source is the same; without it only
    loaded modules are considered. Raises ``DecodeError`` or ``VersionMismatch``.
    """
    return read(codec, head, buffers, refs=refs, data_only=data_only, may_import=may_import)


def encode_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
) -> Encoded:
    """Encode the arguments of a call; errors name them ``args[0]``, ``kwargs["x"]``."""
    return climb(
        [list(args), kwargs],
        (args, kwargs),
        refs=refs,
        layout=lambda form: _call_forms(args, kwargs, form),
        roots=lambda: _named(args, kwargs),
        data_only=data_only,
    )


def plain_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """The head of a call in ``data``, if a glance tells that it needs nothing else.

    As `encode_call` makes it, for the most common of calls: a few short scalars.
    """
    if kwargs or len(args) > GLANCE:
        return None
    if not all(map(_is_short, args)):
        return None
    try:
        return bytes(_packb((args, kwargs)))
    except UnicodeEncodeError:
        return None


def plain_value(value: Any) -> bytes | None:
    """The head of a value in ``data``, if a glance tells that it needs nothing else."""
    try:
        return bytes(_packb(value)) if _is_short(value) else None
    except UnicodeEncodeError:
        return None


def _is_short(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) <= SHORT
    if kind is int:
        return bool(INT_MIN <= value < INT_END)
    return kind is float or kind is bool or value is None


def decode_call(
    codec: str,
    head: Any,
    buffers: Sequence[Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
    may_import: bool = False,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Rebuild what `encode_call` made: ``(args, kwargs)``."""
    found = read(codec, head, buffers, refs=refs, data_only=data_only, may_import=may_import)
    if isinstance(found, (list, tuple)) and len(found) == 2:
        args, kwargs = found
        named = isinstance(kwargs, dict) and (not kwargs or _are_names(kwargs))
        if named and isinstance(args, (list, tuple)):
            return tuple(args), kwargs
    raise DecodeError("the payload should hold the arguments of a call.")


def encode_object(obj: Any, *, refs: References | None = None, root: str = "self") -> Encoded:
    """Encode a live agent as it is now; its ``__init__`` does not run again on the other side.

    ``obj`` itself travels by content even if ``refs`` knows a reference for it.
    """
    return pickled(obj, refs=refs, roots=lambda: [(root, obj)], keep=obj)


def encode_spec(
    cls: type | str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
    shipped: Mapping[str, bytes] = _NOTHING,
) -> Encoded:
    """Encode a class and the arguments to make an agent with.

    A class that the peer can import travels as its name ``pkg.mod:Class``, so that the payload is
    as plain as the arguments are. So does one of a module that goes along (``shipped``: the SHA-256
    of each source, by the module's name).
    """
    target = cls if isinstance(cls, str) else _name_of(cls, shipped)
    return climb(
        [target, list(args), kwargs],
        (target, args, kwargs),
        refs=refs,
        layout=lambda form: [form(target, "class", 1), *_call_forms(args, kwargs, form)],
        roots=lambda: [*_named(args, kwargs), ("class", cls)],
        data_only=data_only,
    )


def decode_spec(
    codec: str,
    head: Any,
    buffers: Sequence[Any],
    *,
    refs: References | None = None,
    data_only: bool = False,
    may_import: bool = True,
) -> tuple[type, tuple[Any, ...], dict[str, Any]]:
    """Rebuild what `encode_spec` made, the class imported. Raises ``DecodeError`` without it."""
    found = read(codec, head, buffers, refs=refs, data_only=data_only, may_import=may_import)
    match found:
        case [target, list() | tuple() as args, dict() as kwargs] if _are_names(kwargs):
            cls = import_class(target) if isinstance(target, str) else target
            if isinstance(cls, type):
                return cls, tuple(args), kwargs
    raise DecodeError("the payload should hold a class and its arguments.")


def _are_names(kwargs: dict[Any, Any]) -> bool:
    return all(type(key) is str for key in kwargs)


def _call_forms(args: tuple[Any, ...], kwargs: dict[str, Any], form: Form) -> list[Any]:
    return [
        [form(value, f"args[{i}]", 2) for i, value in enumerate(args)],
        {name: form(value, f'kwargs["{name}"]', 2) for name, value in kwargs.items()},
    ]


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    parts = [(f"args[{i}]", value) for i, value in enumerate(args)]
    parts += [(f'kwargs["{name}"]', value) for name, value in kwargs.items()]
    return parts


def _name_of(cls: type, shipped: Mapping[str, bytes]) -> str | type:
    from agentd.serialization.code import by_name

    module, qualname = cls.__module__, cls.__qualname__
    if by_name(cls, qualname):
        return f"{module}:{qualname}"
    digest = shipped.get(module)
    if digest and digest == digest_of(module) and lookup(module, qualname) is cls:
        return f"{module}:{qualname}"
    return cls


def import_class(target: str) -> Any:
    """The class ``pkg.mod:Class``; raises ``DecodeError`` that says what is missing."""
    module_name, _, qualname = target.partition(":")
    if not module_name or not qualname:
        raise DecodeError(
            f"{target!r} does not name a class; write it as 'package.module:Class'.",
            culprit=target,
        )
    import importlib

    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise DecodeError(
            f"module {exc.name or module_name} is not importable in the daemon, so that {target} "
            "cannot be made. Install it on the daemon's host, or start the daemon with "
            "`agentd serve --path DIR`, where DIR holds it.",
            culprit=exc.name or module_name,
        ) from exc
    except Exception as exc:
        raise DecodeError(
            f"the import of module {module_name} failed: {exc!r}", culprit=module_name
        ) from exc
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise DecodeError(
            f"module {module_name} has no class {qualname} in the daemon; look for a misspelt "
            "name, or for another version of the module there",
            culprit=target,
        )
    return found
