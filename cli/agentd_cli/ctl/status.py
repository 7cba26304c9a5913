"""``agentctl status``: the daemon at a glance."""

from __future__ import annotations

import click

from agentd_cli import render
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["status"]


@click.command()
@common_options
@pass_ctl
def status(ctl: Ctl) -> None:
    """Show the daemon and its workers."""
    with ctl.connect() as client:
        info = client.info()
    ctl.show(info, lambda: render.status(info, styled=render.is_terminal()))
