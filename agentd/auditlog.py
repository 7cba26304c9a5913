"""The audit log as a file: JSON lines, each with the hash of the one before.

Whoever changes or takes out a line breaks the chain behind it. The *head* is the number and hash of
the last line, kept beside the log: it carries the chain over rotation, and shows when the end was
cut off. Who may write both files can make a new chain: copy heads to where he cannot write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

__all__ = ["START", "Head", "Problem", "line_of", "read", "verify"]

FIELDS: Final = ("n", "time", "who", "ip", "action", "target", "decision", "rule", "count", "prev")
TEXT: Final = 500
"""Characters of a field; what is longer is cut: a name must not fill the disk."""


class Head(NamedTuple):
    """Where a log ends: how many lines there ever were, and the hash of the last one."""

    n: int
    hash: str

    def encode(self) -> bytes:
        """As the file beside the log has it: always of the same size."""
        return f"{self.n:020d} {self.hash}\n".encode()

    @classmethod
    def decode(cls, data: bytes) -> Head | None:
        """Back; ``None`` for what is none."""
        number, _, digest = data.decode("ascii", "replace").strip().partition(" ")
        if not (number.isdecimal() and len(digest) == 64):
            return None
        return cls(int(number), digest)


START: Final = Head(0, "0" * 64)


class Problem(NamedTuple):
    """Something that is wrong: in which line of the file (0: the whole), and what."""

    line: int
    what: str


def line_of(head: Head, facts: dict[str, Any]) -> tuple[bytes, Head]:
    """The next line, with its end, and the new head."""
    record = {"n": head.n + 1, **{key: _cut(value) for key, value in facts.items()}}
    # ASCII: nothing in it would do more to a terminal than to appear there.
    line = json.dumps({**record, "prev": head.hash}).encode("ascii")
    return line + b"\n", Head(head.n + 1, digest(line))


def digest(line: bytes) -> str:
    """The hash of a line, without its end."""
    return hashlib.sha256(line).hexdigest()


def _cut(value: Any) -> Any:
    return value[:TEXT] + "…" if isinstance(value, str) and len(value) > TEXT else value


def read(line: bytes) -> dict[str, Any] | None:
    """The record of a line; ``None`` for what is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or type(found.get("n")) is not int:
        return None
    return found


def verify(
    lines: Iterable[bytes], before: Head | None = None, head: Head | None = None
) -> Iterator[Problem | Head]:
    """Problems as they are met, and at last the head that the lines lead to.

    ``before``: where the file before this one ended; without it the first line is taken as it is.
    ``head``: where the log should end.
    """
    at = before
    known = False
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\n")  # noqa: PLW2901 - its end is no part of it
        found = read(line)
        if found is None:
            yield Problem(number, "is no record; what stood there is not known")
            at = Head(at.n + 1 if at else 0, digest(line))
            continue
        if at is not None and found["n"] != at.n + 1:
            yield Problem(number, f"has number {found['n']} after {at.n}: lines are missing")
        if at is not None and found.get("prev") != at.hash:
            yield Problem(number, "does not fit the line before: one of the two was changed")
        at = Head(found["n"], digest(line))
        known = known or at == head
    end = at or START
    if head is not None and not known and not (end == START and head == START):
        if head.n > end.n:
            yield Problem(0, f"{head.n - end.n} lines are missing at its end")
        else:
            yield Problem(0, "the chain does not lead to the head that was written down")
    yield end
