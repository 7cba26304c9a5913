"""Exceptions as plain data, for readers that take nothing else: type, args, attributes, chain.

A part that has no form in plain data becomes text. An exception is rebuilt only if its type is
one that the reader has loaded already, and without running any code of that type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from agentd.errors import SerializationError
from agentd.serialization import data, wire
from agentd.serialization.contract import Encoded, References, Refusal
from agentd.serialization.failures import constructor_args
from agentd.serialization.records import loaded
from agentd.serialization.small import HEAP_TYPE

__all__ = ["Unknown", "rebuild", "tell"]

MAX_CHAIN: Final = 10
"""Causes of causes; further ones are in the traceback's text."""
MAX_ATTRIBUTES: Final = 100
_BASE_NAMES: Final = frozenset(dir(BaseException))
_LINKS: Final = ("cause", "context")


class Unknown(Exception):
    """The type is not one that may be rebuilt here."""


def tell(
    error: BaseException,
    *,
    refs: References | None,
    clean: Callable[[Any], Any] | None = None,
) -> Encoded:
    """The exception in codec ``data``; raises ``SerializationError`` where even that fails.

    ``clean`` is what parts of it go through.
    """
    told = _describe(error, _Plain(refs, clean), 0)
    return Encoded("data", *data.pack(lambda form: form(told, "exception", 0), refs=refs))


def _describe(error: BaseException, plain: _Plain, depth: int) -> dict[str, Any]:
    cls = type(error)
    base = _base(cls)
    args: Sequence[Any] = constructor_args(error, base)
    if isinstance(error, BaseExceptionGroup):
        args = (error.message, ())
    attributes = {
        name: plain(value)
        for name, value in list(vars(error).items())[:MAX_ATTRIBUTES]
        if name not in _BASE_NAMES
    }
    told: dict[str, Any] = {
        "module": cls.__module__,
        "name": cls.__qualname__,
        "make": [plain(arg) for arg in args],
        "args": [plain(arg) for arg in error.args],
        "attributes": attributes,
        "suppress": error.__suppress_context__,
    }
    if depth < MAX_CHAIN:
        for link, linked in zip(_LINKS, (error.__cause__, error.__context__), strict=True):
            told[link] = None if linked is None else _describe(linked, plain, depth + 1)
        if isinstance(error, BaseExceptionGroup):
            told["group"] = [_describe(e, plain, depth + 1) for e in error.exceptions[:MAX_CHAIN]]
    return told


class _Plain:
    """Parts of an exception, as they may travel."""

    def __init__(self, refs: References | None, clean: Callable[[Any], Any] | None) -> None:
        self._refs = refs
        self._clean = clean if clean is not None else _as_it_is

    def __call__(self, value: Any) -> Any:
        """The value, if it has a form in plain data, else how it prints."""
        value = self._clean(value)
        try:
            data.pack(lambda form: form(value, "part", 0), refs=self._refs)
        except (SerializationError, Refusal):
            return self._clean(_text(value))
        return value


def _as_it_is(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (a __repr__ of the user)
        text = f"<{type(value).__qualname__} object>"
    return text.encode("utf-8", "backslashreplace").decode()[:1000]


def _base(cls: type) -> Any:
    return next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)


def rebuild(told: Any) -> Exception:
    """The exception that was told; raises ``Unknown``, and whatever malformed data raises."""
    cls = loaded(told["module"], told["name"])
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise Unknown
    base = _base(cls)
    make = list(told["make"])
    if issubclass(cls, ExceptionGroup):
        make[1] = [rebuild(part) for part in told["group"]]
    made = wire.new_exception(cls, base, tuple(make))
    if not isinstance(made, Exception):
        raise Unknown
    # By what every exception has from its base: nothing of the type itself is run.
    if not issubclass(cls, ExceptionGroup):
        _set(made, "args", tuple(told["args"]))
    names = object.__getattribute__(made, "__dict__")
    for name, value in dict(told["attributes"]).items():
        if type(name) is str and name not in _BASE_NAMES:
            names[name] = value
    for link in _LINKS:
        linked = told.get(link)
        if linked is not None:
            _set(made, f"__{link}__", _relative(linked))
    _set(made, "__suppress_context__", bool(told["suppress"]))
    return made


def _relative(told: Any) -> Exception:
    """A cause; of a type that is not known, what it was called."""
    from agentd.errors import RemoteError

    try:
        return rebuild(told)
    except Unknown:
        name = f"{told['module']}.{told['name']}"
        args = ", ".join(repr(arg)[:200] for arg in list(told["args"])[:5])
        return RemoteError(f"{name}: {args}", type_name=name)


def _set(made: Exception, name: str, value: Any) -> None:
    vars(BaseException)[name].__set__(made, value)
