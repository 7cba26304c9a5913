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

from agentd.keys.book import GrantBook
from agentd.keys.doctor import Finding, examine
from agentd.keys.encoding import KEY_BYTES, decode_key, encode_key, fingerprint, who_of
from agentd.keys.files import config_folder
from agentd.keys.grants import Reading, authorized_folder, read_grants, remove_grant, write_grant
from agentd.keys.pairs import Pair, check_name, load_pair, make_pair, pair_path, public_from
from agentd.keys.pins import Pin, known_servers, pin_for, remove_pin, write_pin
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
