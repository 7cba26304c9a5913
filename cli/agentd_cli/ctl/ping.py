"""``agentctl ping``: is the daemon there, and how far away."""

from __future__ import annotations

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["ping"]


@click.command()
@common_options
@pass_ctl
def ping(ctl: Ctl) -> None:
    """Measure one round trip to the daemon."""
    with ctl.connect() as client:
        seconds = client.ping()
        endpoint = client.endpoint
    ctl.show(
        {"endpoint": endpoint, "seconds": seconds},
        lambda: f"{escape(endpoint)} answered in {seconds * 1000:.1f} ms",
    )
