"""Dataclasses as plain data: a name and the values of the fields.

A class that is named by a peer is never imported: only one that this process has loaded already is
made. Plain data runs no code, so ``restore`` makes an instance without its ``__init__``; a worker
does run it (`construct_dataclass`), for the dataclasses of the agent that gets them.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from typing import Any

from agentd.errors import DecodeError

__all__ = [
    "construct_dataclass",
    "is_record",
    "loaded",
    "loaded_dataclass",
    "restore",
    "take_apart",
]


def is_record(kind: type) -> bool:
    """Whether instances of exactly this class are dataclasses."""
    return "__dataclass_fields__" in kind.__dict__


def take_apart(value: Any) -> tuple[str, str, dict[str, Any]]:
    """Module, qualified name, and fields; one that has no value is left out."""
    kind = type(value)
    names = [field.name for field in dataclasses.fields(kind)]
    values = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return kind.__module__, kind.__qualname__, values


def loaded(module: str, qualname: str) -> Any:
    """What a loaded module has under that name, or ``None``. Runs no code of anybody."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        has_names = isinstance(found, (type, types.ModuleType))
        found = found.__dict__.get(part) if has_names else None
    return found


def loaded_dataclass(module: str, qualname: str) -> type:
    """A dataclass that is loaded here; raises ``DecodeError``."""
    found = loaded(module, qualname)
    if not isinstance(found, type) or not is_record(found):
        raise DecodeError(
            f"{module}.{qualname} is no dataclass that this process has loaded; import its module "
            "before it arrives, or send its fields as a dict",
            culprit=f"{module}.{qualname}",
        )
    return found


def construct_dataclass(cls: type, values: dict[str, Any]) -> object:
    """By its ``__init__``, which may refuse the values; fields that it does not take are its own.

    Raises ``DecodeError`` for names that are no fields, and what the class itself raises.
    """
    fields: Any = dataclasses.fields(cls)
    _check_names(cls, values, {field.name for field in fields})
    taken = {field.name for field in fields if field.init}
    return cls(**{name: value for name, value in values.items() if name in taken})


def restore(module: str, qualname: str, values: dict[str, Any]) -> object:
    """As it was, without running any of its code."""
    cls = loaded_dataclass(module, qualname)
    fields: Any = dataclasses.fields(cls)
    _check_names(cls, values, {field.name for field in fields})
    made: object = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _check_names(cls: type, values: dict[str, Any], names: set[str]) -> None:
    wrong = [name for name in values if name not in names]
    if wrong:
        raise DecodeError(f"{cls.__module__}.{cls.__qualname__} has no field {wrong[0]!r:.80}")
