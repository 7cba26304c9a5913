"""``agentctl keygen``: a key pair of this host's daemon, or of this user as a client."""

from __future__ import annotations

import socket
from typing import Literal

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["keygen"]


@click.command()
@click.argument("kind", type=click.Choice(["server", "client"]))
@click.option("--name", help="What others may call it; default: this host's name.")
@common_options
@pass_ctl
def keygen(ctl: Ctl, kind: Literal["server", "client"], name: str | None) -> None:
    """Make a key pair, once.

    The secret stays in the config folder, readable by you alone. Copy the public half, the file
    that ends in .pub, to the other side by a way that you trust.
    """
    from agentd import keys

    folder = keys.config_folder()
    pair = keys.make_pair(folder, kind, name or _host_name())
    path = keys.pair_path(folder, kind, "pub")
    facts = {"public": path, "key": keys.encode_key(pair.public), "who": keys.who_of(pair.public)}
    ctl.show(facts, lambda: escape(path))
    ctl.note(f"its fingerprint is {keys.fingerprint(pair.public)}")


def _host_name() -> str:
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
    return plain.strip("-")[:63] or "host"
