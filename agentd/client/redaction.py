"""What must not leave this process in its output or its errors: the values of revealed secrets.

A net for accidents: a value that is printed, that stands in an exception, or that a library puts
into a message. It looks for the value as it is and in the forms that text usually gives it (as
``repr``, JSON and URLs write it, in base64, the lines of one with many). Code that wants to give a
value away can, by any other transformation.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["Redactions", "redactions"]

SHORTEST: Final = 4
"""Shorter values are not looked for: they are part of all kinds of words."""
SHORTEST_LINE: Final = 16
"""The same for a single line of a value that has many."""
MOST: Final = 1000
"""So many values are remembered; a rotated secret has a new one each time."""
DEPTH: Final = 20


class Redactions:
    """The values that were revealed here. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the values, and so the making of the next two
        self._values: OrderedDict[str, str] = OrderedDict()
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self.longest = 0
        """Characters of the longest form: so much of a text may be the beginning of one."""

    def __bool__(self) -> bool:
        return self._pattern is not None

    def add(self, name: str, value: str) -> None:
        """From now on the value is written ``[secret NAME]``."""
        if len(value) < SHORTEST or self._values.get(value) == name:
            return
        with self._lock:
            self._values[value] = name
            while len(self._values) > MOST:
                self._values.popitem(last=False)
            names: dict[str, str] = {}
            for each, its_name in self._values.items():
                names.update((form, f"[secret {its_name}]") for form in _forms(each))
            longest_first = sorted(names, key=len, reverse=True)
            self._names = names
            self.longest = len(longest_first[0])
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """The text, with names in place of the values."""
        pattern = self._pattern
        if pattern is None:
            return text
        names = self._names
        return pattern.sub(lambda found: names.get(found.group(), "[secret]"), text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """The same for the text within plain data; other objects pass as they are."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is bytes or kind is bytearray:
            clean = self.text(value.decode("latin-1"))
            return value if clean == value.decode("latin-1") else kind(clean, "latin-1")
        if depth >= DEPTH:
            return value
        if kind in (list, tuple, set, frozenset):
            return kind(self.value(item, depth + 1) for item in value)
        if kind is dict:
            return {
                self.value(key, depth + 1): self.value(item, depth + 1)
                for key, item in value.items()
            }
        return value

    def within(self, frames: Iterable[Any]) -> bool:
        """Whether any of the values is in these bytes."""
        names = self._names
        return any(
            form.encode("utf-8", "surrogatepass") in bytes(memoryview(frame).cast("B"))
            for frame in frames
            for form in names
        )


def _forms(value: str) -> Iterator[str]:
    """The value as text that holds it may write it."""
    # Here: every worker imports this module, and few reveal a secret.
    import base64
    import json
    import urllib.parse

    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    data = value.encode("utf-8", "surrogatepass")
    yield urllib.parse.quote(data)
    yield urllib.parse.quote(data, safe="")
    yield urllib.parse.quote_plus(data)
    yield data.decode("latin-1")  # within bytes, which are looked at as such text
    yield repr(data)[2:-1]
    encoded = base64.b64encode(data).decode().rstrip("=")
    yield encoded
    yield encoded.translate({ord("+"): "-", ord("/"): "_"})
    lines = value.splitlines()
    if len(lines) > 1:
        # What is printed is looked at line by line. The frame of a PEM file is no secret.
        yield from (
            line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")
        )


redactions = Redactions()
"""Those of this process."""
