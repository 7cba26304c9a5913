"""``agentctl delete``: end agents."""

from __future__ import annotations

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["delete"]


@click.command()
@click.argument("agents", metavar="AGENT...", nargs=-1, required=True)
@common_options
@pass_ctl
def delete(ctl: Ctl, agents: tuple[str, ...]) -> None:
    """End agents, and print the ids of those that ended."""
    with ctl.connect() as client:
        gone = client.delete(*agents)
    ctl.show(gone, lambda: "\n".join(gone))
