"""Text that may go to a terminal.

Names, log lines and messages come from agents, which run other people's code. An escape sequence
in them could repaint the screen or retitle the window, and a right-to-left mark could disguise a
name, so nothing but printable characters passes.
"""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["escape", "is_plain", "one_line", "to_json"]


def escape(text: str, keep: str = "") -> str:
    r"""Write all characters that cannot be printed as ``\x1b``; those in ``keep`` pass."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Join the lines of a text, and escape the rest."""
    return escape(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def is_plain(value: Any) -> bool:
    """Tell whether JSON has a form for the value that says the same (a tuple becomes a list)."""
    match value:
        case None | bool() | int() | str():
            return True
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return all(map(is_plain, value))
        case dict():
            return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
        case _:
            return False


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Write a value as JSON; one that has no JSON form becomes ``{"repr": ...}``, in place.

    The text is safe for a terminal: what cannot be printed is escaped as JSON escapes it.
    """
    text = json.dumps(_reduced(value), indent=indent, ensure_ascii=False)
    # Outside of its strings JSON has no characters but printable ones and these line ends.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _reduced(value: Any) -> Any:
    match value:
        case list() | tuple():
            return [_reduced(item) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _reduced(item) for key, item in value.items()}
        case _:
            return value if is_plain(value) else {"repr": repr(value)}


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
