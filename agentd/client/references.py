"""How agents travel inside values: as references, never as copies.

On the wire a reference is ``(agent id, endpoint of its daemon, "pkg.mod:Class", name, about)``.
"""

from __future__ import annotations

from typing import Any

from agentd.client.proxy import RpcObject, make_proxy, reference
from agentd.client.target import Target
from agentd.errors import DecodeError

__all__ = ["References", "active", "install"]


class References:
    """What a client knows of references: proxies are some."""

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """The reference, if the object is a proxy."""
        if issubclass(type(obj), RpcObject):  # not isinstance: a proxy poses as its class
            return reference(obj)
        return None

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The proxy for a reference."""
        try:
            return make_proxy(Target.from_wire(wire))
        except (TypeError, ValueError) as error:
            raise DecodeError("a reference to an agent is malformed") from error


_active: list[References] = [References()]


def active() -> References:
    """What this process knows of references."""
    return _active[0]


def install(references: References) -> None:
    """Once, by a worker: it knows the agents that it hosts, too."""
    _active[0] = references
