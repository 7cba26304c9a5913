"""``agentctl agents``: who lives here."""

from __future__ import annotations

import time

import click

from agentd_cli import render
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["agents"]


@click.command()
@common_options
@pass_ctl
def agents(ctl: Ctl) -> None:
    """List the agents."""
    with ctl.connect() as client:
        found = client.agents()
    if not found and not ctl.as_json:
        ctl.note("No agents yet; create one with: agentctl create PKG.MOD:CLASS")
        return
    ctl.show(found, lambda: render.agents(found, now=time.time(), styled=render.is_terminal()))
