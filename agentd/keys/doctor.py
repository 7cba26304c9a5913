"""Looks over all that decides about access, and tells what is not as it should be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

from agentd.errors import ConfigError
from agentd.keys.encoding import fingerprint
from agentd.keys.files import check_folder
from agentd.keys.grants import authorized_folder, read_grants
from agentd.keys.pairs import Kind, load_pair, pair_path
from agentd.keys.pins import known_servers
from agentd.protocol.access import Grant, may_code
from agentd.transport import rundir
from agentd.transport.curve import check_library
from agentd.transport.users import group_names, other_user

__all__ = ["Finding", "examine"]

SOON_S = 7 * 86_400.0


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Literal["ok", "warning", "problem"]
    what: str


def examine(folder: str, now: float | None = None, *, worker_user: str = "") -> list[Finding]:
    """Look at the config folder, the run folder and the libraries; changes nothing.

    ``worker_user``: the daemon's setting of that name.
    """
    return [
        *_libraries(),
        *_folders(folder),
        *_pair(folder, "server"),
        *_pair(folder, "client"),
        *_grants(folder, time.time() if now is None else now),
        *_pins(folder),
        *_workers(folder, worker_user),
        _tcp(folder),
    ]


def _libraries() -> Iterator[Finding]:
    try:
        check_library()
    except ConfigError as error:
        yield Finding("problem", error.message)
    else:
        yield Finding("ok", "libzmq is new enough, and has CURVE")


def _folders(folder: str) -> Iterator[Finding]:
    for place in (folder, authorized_folder(folder), os.path.join(folder, "known_servers.d")):
        try:
            check_folder(place)
        except FileNotFoundError:
            continue
        except ConfigError as error:
            yield Finding("problem", error.message)
        except OSError as error:
            yield Finding("problem", f"{place} cannot be read: {error.strerror}")
        else:
            yield Finding("ok", f"{place} is closed to others")
    base = rundir.base_folder()
    try:
        rundir.check_private(base)
    except FileNotFoundError:
        pass
    except ConfigError as error:
        yield Finding("problem", error.message)
    else:
        yield Finding("ok", f"{base}, where the sockets are, is closed to others")


def _pair(folder: str, kind: Kind) -> Iterator[Finding]:
    if os.path.lexists(pair_path(folder, kind, "secret")):
        try:
            pair = load_pair(folder, kind)
        except (ConfigError, OSError) as error:
            yield Finding("problem", str(error))
        else:
            yield Finding("ok", f"the {kind} key is {fingerprint(pair.public)}")


def _grants(folder: str, now: float) -> Iterator[Finding]:
    reading = read_grants(folder)
    for alarm in reading.alarms:
        yield Finding("problem", alarm)
    for grant in reading.grants.values():
        for warning in _about(grant, now):
            yield Finding("warning", f"grant {grant.name}: {warning}")
    yield Finding("ok", f"{len(reading.grants)} grants, {len(reading.keys)} of them for keys")


def _about(grant: Grant, now: float) -> Iterator[str]:
    if grant.expires is not None and grant.expires <= now:
        yield "has expired; take it away with: agentctl keys revoke"
    elif grant.expires is not None and grant.expires - now < SOON_S:
        yield "expires within a week"
    if may_code(grant):
        yield "equals a shell as the daemon's user"
        if grant.expires is None:
            yield "never expires"


def _pins(folder: str) -> Iterator[Finding]:
    pins, wrong = known_servers(folder)
    for sentence in wrong:
        yield Finding("problem", sentence)
    for pin in pins:
        if pin.code:
            yield Finding("warning", f"{pin.endpoint} may run code here (trusted with --code)")
        else:
            yield Finding("ok", f"{pin.endpoint} is trusted, with plain data only")


def _workers(folder: str, worker_user: str) -> Iterator[Finding]:
    """Whom the agents' code runs as."""
    if not worker_user:
        if os.geteuid() == 0:
            yield Finding(
                "warning", "agents run as root; worker_user gives them a user of their own"
            )
        else:
            yield Finding("ok", "agents run as this user, and can do all that it can")
        return
    try:
        user = other_user(worker_user)
    except ConfigError as error:
        yield Finding("problem", error.message)
        return
    groups = ", ".join(group_names(user))
    yield Finding("ok", f"agents run as {user}, groups: {groups}; not as the daemon")
    if 0 in user.groups:
        yield Finding("warning", f"{user.name} is in the group of root, whose files it may read")
    grant = read_grants(folder).grants.get(f"uid:{user.uid}")
    if grant is not None:
        roles = ", ".join(sorted(role.value for role in grant.roles))
        yield Finding("ok", f"grant {grant.name} lets agents use the daemon: {roles}")


def _tcp(folder: str) -> Finding:
    try:
        load_pair(folder, "server")
    except (ConfigError, OSError):
        return Finding("ok", "TCP stays closed here: there is no server key that can be used")
    reading = read_grants(folder)
    if not reading.keys:
        return Finding("ok", "TCP stays closed here: no key is authorised")
    return Finding("ok", f"TCP may be opened here, to {len(reading.keys)} keys; ipc to this user")
