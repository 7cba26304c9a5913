"""Who may come to a worker over the network: the list that its daemon tells it, as bytes.

Only peers with keys are in it, as nobody else comes that way. It is always the whole list: one that
a message more or less would make wrong is not one to let anybody in by.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgpack

from agentd.errors import ProtocolError
from agentd.protocol.access import Grant, Role

__all__ = ["read_admission", "write_admission"]


def write_admission(grants: Mapping[str, Grant], keys: Mapping[bytes, str]) -> bytes:
    """The list: of each public key, what its holder may do."""
    rows = [
        [key, g.who, g.name, sorted(r.value for r in g.roles), g.agents, g.methods, g.expires]
        for key, g in ((key, grants[who]) for key, who in keys.items() if who in grants)
    ]
    packed: bytes = msgpack.packb(rows)
    return packed


def read_admission(packed: bytes) -> tuple[dict[str, Grant], dict[bytes, str]]:
    """Grants by ``who``, and ``who`` by public key; raises ``ProtocolError``."""
    grants: dict[str, Grant] = {}
    keys: dict[bytes, str] = {}
    try:
        for row in msgpack.unpackb(packed):
            match row:
                case [bytes(key), str(who), str(name), list(roles), list(of), list(by), end]:
                    if end is not None and not isinstance(end, (int, float)):
                        raise ProtocolError("a grant that ends at no time")
                    found = frozenset(map(Role, roles))
                    grants[who] = Grant(who, name, found, _texts(of), _texts(by), end)
                    keys[key] = who
                case _:
                    raise ProtocolError("a list of who may come in has seven values for each")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"no list of who may come in: {type(error).__name__}") from None
    return grants, keys


def _texts(values: list[object]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise ProtocolError("names of agents and methods are text")
    return tuple(map(str, values))
