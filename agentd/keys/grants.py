"""Grants as files: ``authorized.d/NAME.toml``, one peer each, and nothing left to guess.

::

    key = "…"                       # or: uid = 1001
    roles = ["caller"]
    agents = ["calc-*"]
    methods = ["*"]
    expires = 2027-01-31T00:00:00Z  # may be left out

A file with anything else in it, or with less, gives nobody anything: a misspelt ``expires`` must
not become a grant without end. So does a peer that two files are about.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any, Final

from agentd.errors import ConfigError
from agentd.keys.encoding import decode_key, encode_key, who_of
from agentd.keys.files import check_folder, make_folder, quoted, read_toml, write_new
from agentd.keys.pairs import check_name
from agentd.keys.reading import Reading
from agentd.protocol.access import Grant, Role

__all__ = ["authorized_folder", "read_grants", "remove_grant", "write_grant"]

SUFFIX: Final = ".toml"
MOST_FILES: Final = 10_000
"""In the folder; of 64 KiB at most each (``files.MOST_BYTES``). Reading so many takes a second."""
_KNOWN: Final = {"key", "uid", "roles", "agents", "methods", "expires"}


def authorized_folder(folder: str) -> str:
    """Where the grants lie."""
    return os.path.join(folder, "authorized.d")


def read_grants(folder: str) -> Reading:
    """Read all grants below the config folder. Never raises: what cannot be read grants nothing."""
    place = authorized_folder(folder)
    try:
        if not os.path.lexists(place):
            return Reading()
        check_folder(folder)
        check_folder(place)
        names = sorted(os.listdir(place))
        if len(names) > MOST_FILES:
            raise ConfigError(f"{place} has {len(names):,} files; {MOST_FILES:,} are read at most")
    except (OSError, ConfigError) as error:
        why = error.message if isinstance(error, ConfigError) else f"{place}: {error.strerror}"
        return Reading(alarms=(f"{why}: nobody is let in by a grant",))
    found: dict[str, tuple[Grant, bytes | None]] = {}
    alarms, twice = [], set()
    for name in names:
        if not name.endswith(SUFFIX) or name.startswith("."):
            continue
        try:
            grant, key = _read(os.path.join(place, name), name.removesuffix(SUFFIX))
        except FileNotFoundError:
            continue  # removed just now
        except ConfigError as error:
            alarms.append(f"{error.message}: it grants nothing")
            continue
        if grant.who in found:
            twice.add(grant.who)
            other = found[grant.who][0].name
            alarms.append(
                f"{place}: {other} and {grant.name} are about the same peer: neither counts"
            )
        found[grant.who] = grant, key
    for who in twice:
        del found[who]
    return Reading(
        {who: grant for who, (grant, _) in found.items()},
        {key: who for who, (_, key) in found.items() if key is not None},
        tuple(alarms),
    )


def _read(path: str, name: str) -> tuple[Grant, bytes | None]:
    table = read_toml(path)
    try:
        check_name(name)
        unknown = sorted(table.keys() - _KNOWN)
        if unknown:
            raise ConfigError(f"has no use for {unknown[0]!r}")
        who, key = _peer(table)
        roles = frozenset(map(_role, _texts(table, "roles")))
        return (
            Grant(
                who,
                name,
                roles,
                tuple(_texts(table, "agents")),
                tuple(_texts(table, "methods")),
                _expiry(table.get("expires")),
            ),
            key,
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from None


def _peer(table: Mapping[str, Any]) -> tuple[str, bytes | None]:
    key, uid = table.get("key"), table.get("uid")
    if (key is None) == (uid is None):
        raise ConfigError("must have either a key or a uid")
    if key is not None:
        if not isinstance(key, str):
            raise ConfigError("key must be text")
        plain = decode_key(key)
        return who_of(plain), plain
    if type(uid) is not int or not 0 <= uid < 2**32 - 1:
        raise ConfigError("uid must be the number of a user")
    return f"uid:{uid}", None


def _texts(table: Mapping[str, Any], name: str) -> list[str]:
    values = table.get(name)
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise ConfigError(f"{name} must be there, a list of text")
    return values


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        known = ", ".join(role.value for role in Role)
        raise ConfigError(f"there is no role {text!r}; there are {known}") from None


def _expiry(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise ConfigError("expires must be a date with time and zone, like 2027-01-31T00:00:00Z")
    return value.timestamp()


def write_grant(folder: str, grant: Grant, key: bytes | None) -> str:
    """Write a new grant; the path. ``key`` belongs to a ``who`` that is one.

    ``ConfigError`` if the name is taken, or the peer has a grant already.
    """
    check_name(grant.name)
    if not grant.roles:
        raise ConfigError("a grant without a role grants nothing; give it one with --role")
    make_folder(folder)
    place = make_folder(authorized_folder(folder))
    before = read_grants(folder).grants.get(grant.who)
    if before is not None:
        raise ConfigError(
            f"that peer has the grant {before.name!r} already; take that away first with: "
            f"agentctl keys revoke {before.name}"
        )
    peer = f"uid = {int(grant.who[4:])}" if key is None else f"key = {quoted(encode_key(key))}"
    lines = [
        f"# {grant.who}",
        peer,
        _list("roles", sorted(role.value for role in grant.roles)),
        _list("agents", grant.agents),
        _list("methods", grant.methods),
    ]
    if grant.expires is not None:
        until = datetime.datetime.fromtimestamp(int(grant.expires), datetime.UTC)
        lines.append(f"expires = {until:%Y-%m-%dT%H:%M:%SZ}")
    path = os.path.join(place, grant.name + SUFFIX)
    write_new(path, "\n".join(lines) + "\n")
    return path


def _list(name: str, values: Any) -> str:
    return f"{name} = [{', '.join(map(quoted, values))}]"


def remove_grant(folder: str, name: str) -> None:
    """Take a grant away; ``ConfigError`` if there is none of that name."""
    check_name(name)
    try:
        os.unlink(os.path.join(authorized_folder(folder), name + SUFFIX))
    except FileNotFoundError:
        raise ConfigError(f"there is no grant {name!r}; see: agentctl keys list") from None
