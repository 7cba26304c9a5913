"""What this room gives and takes: the encoded form, and the way references are passed in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

__all__ = ["Encoded", "Redaction", "References", "Refusal"]


class Encoded(NamedTuple):
    """A value, ready to be sent.

    ``codec`` has to travel beside it: it alone says how the rest is read. ``buffers`` are objects
    with the buffer protocol that still share memory with the value; whoever sends them later than
    at once has to copy those that are not read-only.
    """

    codec: str
    head: bytes
    buffers: list[Any]


class References(Protocol):
    """How objects that live elsewhere are written and read; client and worker each bring one.

    Both methods may be called from any thread, and many times for one value.
    """

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """A tuple of plain data if ``obj`` travels as a reference, else ``None``. Must be quick.

        Raises ``Refusal`` for an object that would, but for an error of its own.
        """

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The object for a reference that arrived. Raises ``DecodeError`` on a malformed one.

        One that also has ``make_dataclass(module, qualname, values)`` makes the dataclasses of a
        payload; without it they are made without running any of their code.
        """


class Redaction(Protocol):
    """What must not be told to others, such as the values of secrets."""

    def text(self, text: str) -> str:
        """The text without it."""

    def value(self, value: Any) -> Any:
        """Plain data without it; other objects as they are."""

    def within(self, frames: Iterable[Any]) -> bool:
        """Whether it is in these bytes."""


class Refusal(Exception):
    """Raised by ``to_wire``: encoding ends with ``error`` as it is, not with one about pickling."""

    def __init__(self, error: Exception) -> None:
        self.error = error
