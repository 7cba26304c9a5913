"""``agentctl ping``: is the daemon there, and how far away."""

from __future__ import annotations

import time

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["ping"]

AGAIN_S = 0.1
"""Between two tries."""


@click.command()
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for a daemon that is just starting.",
)
@common_options
@pass_ctl
def ping(ctl: Ctl, wait_s: float) -> None:
    """Measure one round trip to the daemon."""
    from agentd.errors import DaemonNotFound

    until = time.monotonic() + wait_s
    while True:
        try:
            with ctl.connect() as client:
                seconds, endpoint = client.ping(), client.endpoint
            break
        except DaemonNotFound:
            if time.monotonic() + AGAIN_S > until:
                raise
            time.sleep(AGAIN_S)
    ctl.show(
        {"endpoint": endpoint, "seconds": seconds},
        lambda: f"{escape(endpoint)} answered in {seconds * 1000:.1f} ms",
    )
