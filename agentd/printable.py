"""Text of others that goes to a terminal.

An escape sequence in it could repaint the screen, a mark of writing direction disguise a name.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, keep: str = "") -> str:
    r"""The text with all that cannot be printed written as ``\x1b``; those in ``keep`` pass."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii")
        for c in text
    )
