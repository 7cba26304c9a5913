"""How much memory this process keeps for long frames when nobody uses it."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT", "keep", "limit"]

DEFAULT: Final = 256 * 1024 * 1024


class _Kept:
    limit = DEFAULT


_kept: Final = _Kept()


def limit() -> int:
    """Bytes for what it sends by shared memory, and as many for what it received."""
    return _kept.limit


def keep(most: int) -> None:
    """Set the limit, for what is kept from now on. 0: nothing, and nothing is shared."""
    _kept.limit = most
