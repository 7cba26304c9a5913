"""Headers that repeat but for a number or two: of calls, their results, and agents that are made.

What changes is written last, in a form of fixed length. So whoever writes such a header again packs
only that; and whoever reads one that begins like one that was read whole, and found right, looks
only whether the rest has that form. Others may write theirs as they like: they are read as ever.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgpack

from agentd.protocol.messages import Call, Create, Message, Ready, Result, Start, Started

__all__ = ["MAGIC", "learn", "recall", "write"]

MAGIC: Final = b"AGD1"
MOST: Final = 1024
"""Beginnings that are known of a form: a method of a class has one, or a few, and so has a class;
what the daemon relays one for each peer that may not do everything."""
LONGEST: Final = 256
"""Bytes of one."""
_MAP: Final = 0x80
_PAIRS: Final = 15
"""Most that msgpack's ``fixmap`` has, whose first byte tells how many there are."""
_COUNT: Final = len(MAGIC)
"""Where it is."""
_KIND: Final = 10
"""Where ours have the length of the kind, and how that begins: behind the count and ``kind``."""
_KIND_BYTES: Final = 4
_FIXED: Final = frozenset((str, int, float, bool, bytes, type(None)))


class _End(NamedTuple):
    """A field at the end of a header."""

    name: str
    form: str
    """Of its value (see ``struct``)."""
    size: int | None
    """Of bytes: how many they are."""
    mark: bytes
    """What comes before that: the name, and what msgpack says of the value."""

    @classmethod
    def of(cls, name: str, form: str, code: bytes, size: int | None = None) -> _End:
        """``code``: what msgpack writes before such a value."""
        return cls(name, form, size, msgpack.packb(name) + code)


AGENT_BYTES: Final = 16
KEY_BYTES: Final = 24
_ID: Final = _End.of("id", "I", b"\xce")
_AGENT: Final = _End.of("agent", "16s", b"\xc4\x10", AGENT_BYTES)
_KEY: Final = _End.of("key", "24s", b"\xc4\x18", KEY_BYTES)
_TIMEOUT: Final = _End.of("timeout", "d", b"\xcb")
_AT: Final = _End.of("at", "d", b"\xcb")


class _Form:
    """How headers of one kind of message end; and beginnings of them, as written and as read."""

    __slots__ = (
        "_blank",
        "_ends",
        "_floats",
        "_kind",
        "_known",
        "_last",
        "_marks",
        "_order",
        "_places",
        "_rare",
        "_sized",
        "_usual",
        "_which",
        "_written",
        "size",
    )

    def __init__(self, kind: type[Message], *ends: _End, rare: tuple[str, ...] = ()) -> None:
        """``rare``: fields that have their defaults in such headers; others do not repeat.

        Also those whose values somebody could change are among them.
        """
        self._kind = kind
        self._places = [kind.places[end.name][0] for end in ends]
        self._sized = [(kind.places[end.name][0], end.size) for end in ends if end.size]
        apart = [kind.places[name][0] for name in rare]
        self._rare = _values(apart)
        self._usual = self._rare(kind.unsent)
        self._which = _values(
            [n for n in range(len(kind.names)) if n not in apart and n not in self._places]
        )
        self._ends = struct.Struct(">" + "".join(f"{len(e.mark)}s{e.form}" for e in ends))
        self.size = self._ends.size
        self._marks = tuple(end.mark for end in ends)
        self._blank = [part for mark in self._marks for part in (mark, None)]
        self._last = _values(self._places)
        self._floats = [2 * n + 1 for n, end in enumerate(ends) if end.form == "d"]
        # Where each field is: in the beginning's values, or behind these in those of the end.
        order = list(range(len(kind.names)))
        for number, place in enumerate(self._places):
            order[place] = len(order) + 2 * number + 1
        self._order = itemgetter(*order)
        self._written: dict[tuple[Any, ...], bytes] = {}
        self._known: dict[bytes, tuple[Any, ...]] = {}

    # -- writing -----------------------------------------------------------------------------------
    def write(self, message: Message) -> bytes | None:
        """The header of a message; ``None`` if it has no such form."""
        if self._rare(message) != self._usual:
            return None
        for place, size in self._sized:
            if len(message[place]) != size:
                return None
        ends = self._blank.copy()
        ends[1::2] = self._last(message)
        return self.join(self._which(message), message, *ends)

    def join(self, which: tuple[Any, ...], message: Message, *ends: Any) -> bytes | None:
        """The header; ``None`` if it has no such form. ``which``: all but the end of it.

        ``ends``: each value of the end, behind its mark.
        """
        beginning = self._written.get(which)
        if beginning is None:
            beginning = self._begin(message)
            if beginning is None:
                return None
            _keep(self._written, which, beginning)
        return beginning + self._ends.pack(*ends)

    def _begin(self, message: Message) -> bytes | None:
        fields = {"kind": message.kind}
        for place, name in enumerate(message.names):
            if place not in self._places and message[place] != message.unsent[place]:
                fields[name] = message[place]
        pairs = len(fields) + len(self._places)
        body: bytes = msgpack.packb(fields)
        if pairs > _PAIRS or len(body) > LONGEST:
            return None
        return MAGIC + bytes((_MAP | pairs,)) + body[1:]

    # -- reading -----------------------------------------------------------------------------------
    def recall(self, raw: bytes) -> Message | None:
        """The message, if it begins like one that was learnt."""
        known = self._known.get(raw[: -self.size])
        if known is None:
            return None
        found = self._end_of(raw)
        if found is None:
            return None
        return self._kind.from_values(self._order(known + found))

    def _end_of(self, raw: bytes) -> tuple[Any, ...] | None:
        found = self._ends.unpack_from(raw, len(raw) - self.size)
        if found[::2] != self._marks:
            return None
        for place in self._floats:
            if found[place] != found[place]:  # NaN
                return None
        return found

    def learn(self, raw: bytes, message: Message) -> None:
        """``raw`` was read whole, and is ``message``."""
        size, pairs = self.size, raw[_COUNT] - _MAP - len(self._places)
        if not (_COUNT < len(raw) - size <= LONGEST and 0 < pairs <= _PAIRS):
            return
        if self._end_of(raw) is None or not self._may_repeat(message):
            return
        # Is it the end indeed, and not what only looks like it within something longer? It is if
        # the rest is all the other pairs.
        try:
            rest = msgpack.unpackb(bytes((_MAP | pairs,)) + raw[_COUNT + 1 : -size])
        except Exception:  # noqa: BLE001 - it is not
            return
        if len(rest) == pairs:
            _keep(self._known, raw[:-size], tuple(message))

    def _may_repeat(self, message: Message) -> bool:
        """Whether others are like it, and nobody can change their values by those of this one."""
        return self._rare(message) == self._usual and all(
            type(value) in _FIXED or value is default
            for value, default in zip(message, message.unsent, strict=True)
        )


def _values(places: list[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What gets the values at those places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def _keep(known: dict[Any, Any], key: Any, value: Any) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value


_RARE: Final = ("needs", "chain", "again", "trace")
_CALL: Final = _Form(Call, _ID, _AGENT, _KEY, _AT, rare=_RARE)
_TIMED: Final = _Form(Call, _ID, _AGENT, _KEY, _TIMEOUT, _AT, rare=_RARE)
_RESULT: Final = _Form(Result, _ID)
_MADE: Final[dict[type[Message], _Form]] = {
    Create: _Form(Create, _ID, _AGENT, _AT, rare=("name", "options", "needs")),
    Start: _Form(Start, _AGENT, rare=("name", "options", "needs")),
    Started: _Form(Started, _AGENT, rare=("about",)),
    Ready: _Form(Ready, _ID, _AGENT, rare=("about", "name")),
}
_FORMS: Final[dict[type[Message], tuple[_Form, ...]]] = {
    Call: (_CALL, _TIMED),
    Result: (_RESULT,),
    **{kind: (form,) for kind, form in _MADE.items()},
}
_BY_KIND: Final = {msgpack.packb(kind.kind)[:_KIND_BYTES]: forms for kind, forms in _FORMS.items()}


def write(message: Message) -> bytes | None:
    """The header of a message; ``None`` if it is none of those that repeat."""
    kind = type(message)
    try:
        if kind is Result:
            number, codec, held = message
            return _RESULT.join((codec, held), message, _ID.mark, number)
        if kind is Call:
            return _write_call(message)
        form = _MADE.get(kind)
        if form is not None:
            return form.write(message)
    except (struct.error, TypeError):  # a value that does not go into the form
        pass
    return None


def _write_call(message: Message) -> bytes | None:
    """As ``_Form.write`` does it, in less time."""
    (number, agent, epoch, op, name, codec, key, timeout, hold, oneway) = message[:10]
    (credit, needs, chain, again, trace, lazy, at, by, plain) = message[10:]
    if needs or chain or again or trace or len(agent) != AGENT_BYTES or len(key) != KEY_BYTES:
        return None
    which = (epoch, op, name, codec, hold, oneway, credit, lazy, by, plain)
    ends = (_ID.mark, number, _AGENT.mark, agent, _KEY.mark, key)
    if timeout is None:
        return _CALL.join(which, message, *ends, _AT.mark, at)
    return _TIMED.join(which, message, *ends, _TIMEOUT.mark, timeout, _AT.mark, at)


def recall(raw: bytes) -> Message | None:
    """The message of a header that begins like one that was learnt; ``None`` if none did."""
    for form in _BY_KIND.get(raw[_KIND : _KIND + _KIND_BYTES], ()):
        message = form.recall(raw)
        if message is not None:
            return message
    return None


def learn(raw: bytes, message: Message) -> None:
    """``raw`` was read whole, and is ``message``."""
    for form in _FORMS.get(type(message), ()):
        form.learn(raw, message)
