"""Keys, grants and pins: the files that say who may come in, and whom a client believes.

They lie in one folder (``config_folder``), ours and writable by us alone::

    server.secret  server.pub        the daemon's pair
    client.secret  client.pub        this user's pair as a client
    authorized.d/NAME.toml           one grant each: who may do what here
    known_servers.d/HOST_PORT.toml   one pin each: the key of a server elsewhere

Whatever cannot be read with certainty counts as absent, and is told: nothing here ever widens
access by mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentd.keys.book import GrantBook
    from agentd.keys.doctor import Finding, examine
    from agentd.keys.encoding import KEY_BYTES, decode_key, encode_key, fingerprint, who_of
    from agentd.keys.files import config_folder
    from agentd.keys.grants import authorized_folder, read_grants, remove_grant, write_grant
    from agentd.keys.pairs import Pair, check_name, load_pair, make_pair, pair_path, public_from
    from agentd.keys.pins import Pin, known_servers, pin_for, remove_pin, write_pin
    from agentd.keys.reading import Reading
    from agentd.protocol.access import Grant, Role

__all__ = [
    "KEY_BYTES",
    "Finding",
    "Grant",
    "GrantBook",
    "Pair",
    "Pin",
    "Reading",
    "Role",
    "authorized_folder",
    "check_name",
    "config_folder",
    "decode_key",
    "encode_key",
    "examine",
    "fingerprint",
    "known_servers",
    "load_pair",
    "make_pair",
    "pair_path",
    "pin_for",
    "public_from",
    "read_grants",
    "remove_grant",
    "remove_pin",
    "who_of",
    "write_grant",
    "write_pin",
]

_LATER = {
    "agentd.keys.book": "GrantBook",
    "agentd.keys.doctor": "Finding examine",
    "agentd.keys.encoding": "KEY_BYTES decode_key encode_key fingerprint who_of",
    "agentd.keys.files": "config_folder",
    "agentd.keys.grants": "authorized_folder read_grants remove_grant write_grant",
    "agentd.keys.pairs": "Pair check_name load_pair make_pair pair_path public_from",
    "agentd.keys.pins": "Pin known_servers pin_for remove_pin write_pin",
    "agentd.keys.reading": "Reading",
    "agentd.protocol.access": "Grant Role",
}
"""Imported on first use: a daemon that serves its own user alone reads none of these files."""


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names.split():
            import importlib

            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module 'agentd.keys' has no attribute {name!r}")
