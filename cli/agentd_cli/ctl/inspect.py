"""``agentctl inspect``: all that the daemon knows of one agent."""

from __future__ import annotations

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import sendable
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["inspect"]


@click.command()
@click.argument("agent", type=sendable)
@common_options
@pass_ctl
def inspect(ctl: Ctl, agent: str) -> None:
    """Show one agent: state, place, methods, last error."""
    with ctl.connect() as client:
        found = client.inspect(agent)
    ctl.show(found, lambda: render.record(found, styled=render.is_terminal()))
