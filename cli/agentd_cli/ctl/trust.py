"""``agentctl trust``: which servers elsewhere this user believes, by their keys."""

from __future__ import annotations

import click

from agentd_cli import render
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape
from agentd_cli.usage import SafeGroup

__all__ = ["trust"]


@click.group(cls=SafeGroup)
def trust() -> None:
    """Pin the keys of servers elsewhere: there is no trust on first use."""


@trust.command()
@click.argument("server", metavar="tcp://HOST:PORT")
@click.argument("key", metavar="FILE|KEY")
@click.option(
    "--code",
    is_flag=True,
    help="Believe its pickles, too: that server may then run any code as you.",
)
@common_options
@pass_ctl
def add(ctl: Ctl, server: str, key: str, code: bool) -> None:
    """Trust the server at an endpoint: its server.pub, or the key in it.

    A pin that was there before is replaced.
    """
    from agentd import keys

    public, _name = keys.public_from(key, "server")
    pin = keys.write_pin(keys.config_folder(), server, public, code=code)
    facts = {"endpoint": pin.endpoint, "fingerprint": keys.fingerprint(public), "code": code}
    ctl.show(facts, lambda: f"{escape(pin.endpoint)}  {keys.fingerprint(public)}")
    if code:
        ctl.note("Note: whoever has that server's key may now run any code as you.")


@trust.command("list")
@common_options
@pass_ctl
def list_(ctl: Ctl) -> None:
    """Show the servers that are trusted."""
    from agentd import keys

    pins, wrong = keys.known_servers(keys.config_folder())
    facts = [
        {"endpoint": pin.endpoint, "fingerprint": keys.fingerprint(pin.key), "code": pin.code}
        for pin in pins
    ]
    rows = [[escape(p.endpoint), keys.fingerprint(p.key), "yes" if p.code else "no"] for p in pins]
    heads = ["ENDPOINT", "FINGERPRINT", "CODE"]
    ctl.show(
        facts,
        lambda: render.table(heads, rows, styled=render.is_terminal()) if rows else "None.",
    )
    for sentence in wrong:
        ctl.note(escape(sentence))


@trust.command()
@click.argument("server", metavar="tcp://HOST:PORT")
@common_options
@pass_ctl
def remove(ctl: Ctl, server: str) -> None:
    """Trust it no more."""
    from agentd import keys

    keys.remove_pin(keys.config_folder(), server)
    ctl.show({"removed": server}, lambda: escape(server))
