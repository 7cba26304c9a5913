"""What the files of grants say at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from agentd.protocol.access import Grant

__all__ = ["Reading"]

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class Reading(NamedTuple):
    """What the folder said."""

    grants: Mapping[str, Grant] = _NOTHING
    """By ``who``; those that have expired, too."""
    keys: Mapping[bytes, str] = _NOTHING
    """Public keys, and the ``who`` of each."""
    alarms: tuple[str, ...] = ()
    """What was left out, and why, a sentence each."""
