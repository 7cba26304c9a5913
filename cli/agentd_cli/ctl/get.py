"""``agentctl get``: one attribute."""

from __future__ import annotations

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import sendable
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.ctl.remote import agents_code

__all__ = ["get"]


@click.command()
@click.argument("agent", type=sendable)
@click.argument("attribute", metavar="ATTR", type=sendable)
@common_options
@pass_ctl
def get(ctl: Ctl, agent: str, attribute: str) -> None:
    """Print an attribute of an agent."""
    with ctl.connect() as client:
        proxy = client.get(agent)
        with agents_code():
            result = getattr(proxy, attribute)
        ctl.show(result, lambda: render.result(result))
