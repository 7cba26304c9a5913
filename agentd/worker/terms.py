"""On what terms a payload is read and answered: the daemon's verdict about who sent it."""

from __future__ import annotations

from typing import NamedTuple

from agentd.protocol.messages import UNRESTRICTED

__all__ = ["OWN", "Terms"]


class Terms(NamedTuple):
    """What one message may bring, and what its answer may be."""

    code: bool
    """Its payload may be more than plain data; so may what it refers to."""
    plain: bool
    """Its answer is plain data."""
    guest: str
    """The restricted peer that it is from; empty for one that may do everything here."""

    @classmethod
    def of(cls, by: str, *, plain: bool, direct: bool, safe: bool) -> Terms:
        """From the header that the daemon wrote.

        ``direct``: it came by this worker's own socket, which is open to the daemon's user alone;
        then the header tells nothing. ``safe``: nobody sends code here.
        """
        free = direct or by == UNRESTRICTED
        code = free and not safe
        return cls(code, plain or not code, "" if free else by or "nobody")


OWN = Terms(code=True, plain=False, guest="")
"""Those of the daemon's own user."""
