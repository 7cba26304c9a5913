"""``agentctl stop``: end the daemon in order."""

from __future__ import annotations

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["stop"]


@click.command()
@common_options
@pass_ctl
def stop(ctl: Ctl) -> None:
    """Stop the daemon, in order.

    It finishes open calls within its grace period; asked again, it ends at once.
    """
    with ctl.connect() as client:
        client.stop()
        endpoint = client.endpoint
    ctl.show(
        {"endpoint": endpoint, "stopping": True},
        lambda: f"{escape(endpoint)} is stopping: it finishes open calls and takes nothing new",
    )
