"""``agentctl logs``: what an agent printed."""

from __future__ import annotations

from typing import Final

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import sendable
from agentd_cli.ctl.context import Client, Ctl, common_options, pass_ctl
from agentd_cli.text import to_json

__all__ = ["logs"]

# The daemon holds a question of -f back until there are lines, or for this long.
_WAIT_S: Final = 10.0


@click.command()
@click.argument("agent", type=sendable)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until the agent ends.")
@common_options
@pass_ctl
def logs(ctl: Ctl, agent: str, follow: bool) -> None:
    """Print what an agent wrote to stdout and stderr.

    As far back as the daemon keeps it, also of an agent that ended recently. With --json each line
    is an object of its own.
    """
    with ctl.connect() as client:
        identity = _identity(client, agent)
        count = _print_all(ctl, client, identity, wait=_WAIT_S if follow else 0.0)
    if not count and not follow:
        ctl.note("Nothing printed yet; new lines appear with: agentctl logs -f AGENT")


def _identity(client: Client, agent: str) -> str:
    """Find the id: by its name, an agent that ends meanwhile would not be found any more."""
    from agentd.errors import AgentNotFound

    try:
        return str(client.inspect(agent)["id"])
    except AgentNotFound as error:
        if error.agent is None or not client.logs(error.agent)["lines"]:
            raise
        return error.agent  # it ended, and left a trace


def _print_all(ctl: Ctl, client: Client, agent: str, wait: float) -> int:
    """Print page after page, until the agent ended; without ``wait`` up to the first empty one."""
    after = count = 0
    while True:
        page = client.logs(agent, after=after, wait=wait)
        for line in page["lines"]:
            click.echo(to_json(line, indent=None) if ctl.as_json else render.log_line(line))
        count += len(page["lines"])
        after = page["next"]
        if page["ended"] or not (page["lines"] or wait):
            return count
