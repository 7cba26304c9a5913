"""What sending raises, over any kind of socket."""

from __future__ import annotations

__all__ = ["Unreachable"]


class Unreachable(Exception):
    """The frames were not taken: the peer is gone, not connected yet, or too far behind."""
