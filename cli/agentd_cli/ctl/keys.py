"""``agentctl keys``: who may come to this user's daemon, and what each may do there."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from agentd_cli import render
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape
from agentd_cli.usage import SafeGroup

__all__ = ["keys"]

_ROLES = ("observer", "caller", "operator", "submitter", "deployer", "admin")
_SHELLS = {"deployer", "admin"}
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@click.group(cls=SafeGroup)
def keys() -> None:
    """Say who may come to the daemon of this user, on this host.

    Grants are files. A running daemon takes a change within a second, no restart is needed.
    """


@keys.command()
@click.argument("peer", metavar="FILE|KEY|uid:N")
@click.option(
    "--role",
    "roles",
    type=click.Choice(_ROLES),
    multiple=True,
    required=True,
    help="What it is for; may be given more than once. See docs/security.md.",
)
@click.option(
    "--agents",
    multiple=True,
    metavar="PATTERN",
    help="Names of the agents it is about, like 'calc-*'; may be repeated; default: all.",
)
@click.option(
    "--methods",
    multiple=True,
    metavar="PATTERN",
    help="Names of the methods it is about; may be repeated; default: all.",
)
@click.option("--expires", metavar="SPAN", help="Until when: 90d, 12h, 30m; default: no end.")
@click.option("--name", help="What you call it; default: the name in the file.")
@common_options
@pass_ctl
def add(
    ctl: Ctl,
    peer: str,
    roles: tuple[str, ...],
    agents: tuple[str, ...],
    methods: tuple[str, ...],
    expires: str | None,
    name: str | None,
) -> None:
    """Let a client in: the .pub file of its keygen, the key itself, or a user of this host."""
    from agentd import keys

    key, who, found = _peer(peer)
    grant = keys.Grant(
        who,
        keys.check_name(name or found or who.replace(":", "-")),
        frozenset(map(keys.Role, roles)),
        agents or ("*",),
        methods or ("*",),
        None if expires is None else time.time() + _seconds(expires),
    )
    keys.write_grant(keys.config_folder(), grant, key)
    facts = _facts(grant)
    ctl.show(facts, lambda: f"{escape(grant.name)}  {grant.who}  {', '.join(sorted(roles))}")
    if _SHELLS & set(roles):
        ctl.note(
            "Note: this equals a shell as the daemon's user: whoever sends pickles can run any "
            "code there."
        )


def _peer(peer: str) -> tuple[bytes | None, str, str | None]:
    from agentd import keys

    uid = peer.removeprefix("uid:")
    if uid != peer:
        if not uid.isdecimal():
            raise click.UsageError(f"uid:N needs the number of a user, not {escape(uid)!r}")
        return None, f"uid:{int(uid)}", None
    key, name = keys.public_from(peer, "client")
    return key, keys.who_of(key), name


def _seconds(span: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", span)
    if found is None:
        raise click.UsageError(f"--expires is a span like 90d, 12h or 30m, not {escape(span)!r}")
    return float(int(found[1]) * _UNITS[found[2]])


def _facts(grant: Any) -> dict[str, Any]:
    return {
        "name": grant.name,
        "who": grant.who,
        "roles": sorted(role.value for role in grant.roles),
        "agents": list(grant.agents),
        "methods": list(grant.methods),
        "expires": grant.expires,
    }


@keys.command("list")
@common_options
@pass_ctl
def list_(ctl: Ctl) -> None:
    """Show who may come in, and which files grant nothing."""
    from agentd import keys

    reading = keys.read_grants(keys.config_folder())
    facts = [_facts(grant) for grant in reading.grants.values()]
    ctl.show(facts, lambda: _table(facts))
    for alarm in reading.alarms:
        ctl.note(escape(alarm))


def _table(facts: list[dict[str, Any]]) -> str:
    if not facts:
        return "Nobody but this user."
    now = time.time()
    rows = [
        [
            escape(fact["name"]),
            fact["who"],
            *(escape(", ".join(fact[key])) for key in ("roles", "agents", "methods")),
            _end(fact["expires"], now),
        ]
        for fact in facts
    ]
    heads = ["NAME", "WHO", "ROLES", "AGENTS", "METHODS", "EXPIRES"]
    return render.table(heads, rows, styled=render.is_terminal())


def _end(expires: float | None, now: float) -> str:
    if expires is None:
        return "never"
    return "expired" if expires <= now else f"in {render.duration(expires - now)}"


@keys.command()
@click.argument("name")
@common_options
@pass_ctl
def revoke(ctl: Ctl, name: str) -> None:
    """Let it in no more; what it has open now is ended, within a second."""
    from agentd import keys

    keys.remove_grant(keys.config_folder(), name)
    ctl.show({"revoked": name}, lambda: escape(name))
