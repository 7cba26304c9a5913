"""What a stream socket raises."""

from __future__ import annotations

__all__ = ["Broken"]


class Broken(Exception):
    """The connection ended, or its peer does not keep to the form."""
