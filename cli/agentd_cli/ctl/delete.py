"""``agentctl delete``: end agents."""

from __future__ import annotations

import click

from agentd_cli.ctl.arguments import sendable
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["delete"]


@click.command()
@click.argument("agents", metavar="AGENT...", type=sendable, nargs=-1, required=True)
@common_options
@pass_ctl
def delete(ctl: Ctl, agents: tuple[str, ...]) -> None:
    """End agents, and print the ids of those that ended.

    One that is not there does not keep the others; the exit code tells of it.
    """
    from agentd.errors import AgentNotFound

    gone: list[str] = []
    missing: list[AgentNotFound] = []
    try:
        with ctl.connect() as client:
            for agent in agents:
                try:
                    gone += client.delete(agent)
                except AgentNotFound as error:
                    missing.append(error)
    finally:  # whatever stopped us: these are gone
        if gone or ctl.as_json:
            ctl.show(gone, lambda: "\n".join(map(escape, gone)))
    for each in missing[:-1]:
        ctl.tell(each)
    if missing:
        raise missing[-1]
