"""The functions that a pickle of ours may name: the vocabulary of the codecs beyond pickle itself.

Their names and signatures are part of the protocol, as the extension codes of ``data`` are. The
reader (in `pickling`) puts bound methods in place of those that need to know who is reading.
"""

from __future__ import annotations

import sys
import types
from typing import Any, NoReturn

__all__ = ["MODULE"]

MODULE = __name__


def reference(*wire: Any) -> NoReturn:
    """An object that lives elsewhere."""
    _needs_reader()


def restore(ident: bytes, module: str, qualname: str, digest: bytes, blob: bytes) -> NoReturn:
    """A class by value, with its whole definition in ``blob``."""
    _needs_reader()


def new_class(ident: bytes, digest: bytes, meta: type, spec: dict[str, Any]) -> NoReturn:
    """Within a definition: a class without its content, so that the content can refer to it."""
    _needs_reader()


def fill_class(cls: type, state: dict[str, Any]) -> NoReturn:
    """Within a definition: the content, unless the class is already known here."""
    _needs_reader()


def _needs_reader() -> NoReturn:
    from agentd.errors import DecodeError

    raise DecodeError(
        "this pickle was made by agentd; read it with agentd.serialization.decode, not pickle.loads"
    )


# -- functions and their surroundings -----------------------------------------------------------


def new_code(data: bytes) -> types.CodeType:
    """A code object. Only for readers of the same minor version, which the codec sees to."""
    import marshal

    code: types.CodeType = marshal.loads(data)  # noqa: S302  (within a pickle, no new risk)
    return code


def new_globals(name: str, package: str | None, file: str | None) -> dict[str, Any]:
    """What the functions of one payload and one module have in common as their globals."""
    names: dict[str, Any] = {"__name__": name, "__builtins__": __builtins__}
    if package is not None:
        names["__package__"] = package
    if file is not None:
        names["__file__"] = file
    return names


def new_function(
    code: types.CodeType,
    names: dict[str, Any],
    name: str,
    cells: tuple[types.CellType, ...] | None,
) -> types.FunctionType:
    """A function that lacks all but its code, so that the rest can refer to it."""
    return types.FunctionType(code, names, name, None, cells)


def fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    """What was left out by `new_function`."""
    for key, value in state["globals"].items():
        function.__globals__[key] = value
    for cell, content in state["cells"]:
        cell.cell_contents = content
    for module, names in state["modules"]:
        # A module that is really here has its own content.
        if sys.modules.get(module.__name__) is not module:
            module.__dict__.update(names)
    for key, value in state["attributes"].items():
        setattr(function, key, value)
    function.__dict__.update(state["dict"])


def new_cell() -> types.CellType:
    return types.CellType()


def fill_cell(cell: types.CellType, content: tuple[Any]) -> None:
    (cell.cell_contents,) = content


def import_module(name: str) -> types.ModuleType:
    import importlib

    return importlib.import_module(name)


def new_module(
    name: str, file: str | None, doc: str | None, digest: bytes = b""
) -> types.ModuleType:
    """A stand-in for a module that is not here, with what the functions use of it.

    Readers take the module itself, if they have it, or got it, with that SHA-256 of its source.
    """
    module = types.ModuleType(name, doc)
    if file is not None:
        module.__file__ = file
    return module


# -- small things that pickle has no form of ----------------------------------------------------


def new_cached_property(func: Any, name: str | None, doc: str | None) -> Any:
    import functools

    made: Any = functools.cached_property(func)
    made.attrname = name
    made.__doc__ = doc
    return made


def new_lru_cache(func: Any, maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001  (its calls are on the wire)
    """Empty: what was remembered stays where it was computed."""
    import functools

    return functools.lru_cache(maxsize=maxsize, typed=typed)(func)


def new_lock(name: str) -> Any:
    """A free lock (or thread-local), for the globals and class attributes of code by value."""
    import threading

    return getattr(threading, name)()


def new_context_var(name: str, *default: Any) -> Any:
    """A context variable as its module made it: what contexts hold of it stays behind."""
    import contextvars

    return (
        contextvars.ContextVar(name, default=default[0])
        if default
        else contextvars.ContextVar(name)
    )


def new_type_variable(kind: str, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    import typing

    made: Any = getattr(typing, kind)(name, *args, **options.get("arguments", {}))
    for key, value in options.get("attributes", {}).items():
        setattr(made, key, value)
    return made


# -- exceptions ---------------------------------------------------------------------------------


def new_exception(cls: type[BaseException], base: Any, args: tuple[Any, ...]) -> BaseException:
    """An exception made by its built-in base alone; a custom ``__init__`` does not run."""
    made: BaseException = base.__new__(cls, *args)
    try:
        base.__init__(made, *args)
    except TypeError:
        pass  # Its own __init__ never told the base; the fields follow by themselves.
    return made


def call(func: Any, args: tuple[Any, ...]) -> Any:
    """What the class's own ``__reduce__`` asked for."""
    return func(*args)


def fill_exception(made: BaseException, state: dict[str, Any]) -> None:
    """Attributes, built-in fields and the chain."""
    own = state["state"]
    if own is not None:
        if hasattr(type(made), "__setstate__") and state["setstate"]:
            made.__setstate__(own)
        else:
            _set_attributes(made, own)
    for name, value in state["fields"].items():
        try:
            if getattr(made, name, None) is not value:
                setattr(made, name, value)
        except (AttributeError, TypeError):
            pass  # A field this Python has read-only, or not at all; ``args`` has it as well.
    if state["args"] is not None:
        made.args = state["args"]
    # The setter of __cause__ also sets __suppress_context__, which therefore comes last.
    made.__cause__ = state["cause"]
    made.__context__ = state["context"]
    made.__suppress_context__ = state["suppress"]


def _set_attributes(made: object, state: Any) -> None:
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes:
        made.__dict__.update(attributes)
    for name, value in (slots or {}).items():
        setattr(made, name, value)
