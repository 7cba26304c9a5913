"""What all messages are: named, immutable values, whose fields have the types of the wire."""

from __future__ import annotations

from _collections import (  # type: ignore[import-not-found]  # what namedtuple itself uses
    _tuplegetter,
)
from typing import Any, ClassVar, Self, dataclass_transform

__all__ = ["KINDS", "NOTHING", "Field", "Message"]


class Field(tuple[str, tuple[type, ...], Any, bool]):
    """One field of a message: name, exact types on the wire, default, whether it is required."""

    __slots__ = ()


NOTHING = object()
"""What a required field has instead of a default."""


@dataclass_transform(frozen_default=True, eq_default=True)
class Message(tuple[Any, ...]):
    """A named, immutable value; subclasses list their fields as annotations.

    A tuple with attributes, as ``typing.NamedTuple`` makes them, but built without ``exec``: two
    dozen named tuples cost a client 5 ms at import, these a tenth of that.
    """

    __slots__ = ()
    kind: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    names: ClassVar[tuple[str, ...]]
    unsent: ClassVar[tuple[Any, ...]]
    """What is not sent, by field: its default, or something that no value equals."""
    places: ClassVar[dict[str, tuple[int, tuple[type, ...]]]]
    """Where a field belongs, and its types, by its name."""
    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        names = cls.__dict__.get("__annotations__", {})
        cls._defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        cls.fields = tuple(
            Field((name, _accepted(hint), cls._defaults.get(name), name not in cls._defaults))
            for name, hint in names.items()
        )
        cls.names = tuple(names)
        cls.unsent = tuple(NOTHING if f[3] else f[2] for f in cls.fields)
        cls.places = {f[0]: (index, f[1]) for index, f in enumerate(cls.fields)}
        for index, name in enumerate(names):
            setattr(cls, name, _tuplegetter(index, None))
        cls.kind = "".join(
            "_" * (i > 0 and c.isupper()) + c.lower() for i, c in enumerate(cls.__name__)
        )
        KINDS[cls.kind] = cls

    def __new__(cls, /, *values: Any, **named: Any) -> Self:
        """From the fields, by position or by name."""
        if named or len(values) != len(cls.fields):
            values = cls._complete(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _complete(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        rest = []
        for name, _types, default, required in cls.fields[len(values) :]:
            if name not in named and required:
                raise TypeError(f"{cls.__name__} needs {name!r}")
            rest.append(named.pop(name, default))
        if named or len(values) > len(cls.fields):
            raise TypeError(f"{cls.__name__} has no {list(named) or 'further'} fields")
        return (*values, *rest)

    @classmethod
    def from_values(cls, values: list[Any]) -> Self:
        """From all values, in the order of ``fields``."""
        return tuple.__new__(cls, values)

    def renumbered(self, number: int) -> Self:
        """The same answer to another question: the first field is the ``id``."""
        return self.from_values([number, *self[1:]])

    def changed(self, **fields: Any) -> Self:
        """The same message with other values for some fields."""
        values = list(self)
        for name, value in fields.items():
            values[self.places[name][0]] = value
        return self.from_values(values)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:  # the tuple's own would compare values only
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        pairs = (f"{f[0]}={v!r}" for f, v in zip(self.fields, self, strict=True))
        return f"{type(self).__name__}({', '.join(pairs)})"


KINDS: dict[str, type[Message]] = {}
"""The name of each message on the wire (``StartFailed`` is ``start_failed``)."""

_WIRE_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bytes": (bytes,),
    "bool": (bool,),
    "None": (type(None),),
    "dict": (dict,),
    "list": (list,),
}


def _accepted(hint: str) -> tuple[type, ...]:
    """``"bytes | None"`` to ``(bytes, NoneType)``: exact types, so ``True`` is not an ``int``."""
    return tuple(t for part in hint.split(" | ") for t in _WIRE_TYPES[part.split("[")[0]])
