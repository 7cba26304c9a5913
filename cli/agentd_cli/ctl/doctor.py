"""``agentctl doctor``: looks over what decides about access."""

from __future__ import annotations

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["doctor"]


@click.command()
@click.option("--security", is_flag=True, help="Keys, grants, folders, and the library.")
@common_options
@pass_ctl
@click.pass_context
def doctor(ctx: click.Context, ctl: Ctl, security: bool) -> None:
    """Look for what is not as it should be; exit code 1 if there is a problem."""
    from agentd import keys

    del security  # there is nothing else to look at yet
    found = keys.examine(keys.config_folder())
    ctl.show(
        [finding._asdict() for finding in found],
        lambda: "\n".join(f"{f.level:8} {escape(f.what)}" for f in found),
    )
    ctx.exit(int(any(finding.level == "problem" for finding in found)))
