"""``agentctl call``: one method, one answer."""

from __future__ import annotations

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import MethodCommand, keywords, method_arguments, value
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.ctl.remote import agents_code

__all__ = ["call"]


@click.command(cls=MethodCommand)
@click.argument("agent")
@click.argument("method")
@method_arguments
@common_options
@pass_ctl
def call(ctl: Ctl, agent: str, method: str, args: tuple[str, ...], pairs: tuple[str, ...]) -> None:
    """Call a method of an agent and print what it returns.

    Plain data is printed as JSON, anything else as Python writes it; with --json that is
    {"repr": "..."}.
    """
    kwargs = keywords(pairs)
    with ctl.connect() as client:
        proxy = client.get(agent)
        with agents_code():
            result = getattr(proxy, method)(*map(value, args), **kwargs)
        # Within the connection: the repr of a reference may ask the daemon.
        ctl.show(result, lambda: render.result(result))
