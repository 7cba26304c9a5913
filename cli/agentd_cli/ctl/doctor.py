"""``agentctl doctor``: looks over what decides about access."""

from __future__ import annotations

import click

from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["doctor"]


@click.command()
@click.option(
    "--security", is_flag=True, help="Keys, grants, folders, the library, and the workers' user."
)
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False),
    help="The daemon's settings (TOML); AGENTD_* variables count as for the daemon.",
)
@common_options
@pass_ctl
@click.pass_context
def doctor(ctx: click.Context, ctl: Ctl, security: bool, file: str | None) -> None:
    """Look for what is not as it should be; exit code 1 if there is a problem."""
    from agentd import keys
    from agentd.config import load

    del security  # there is nothing else to look at yet
    config = load(file)
    folder = keys.config_folder(config.config_dir)
    found = keys.examine(folder, worker_user=config.worker_user)
    ctl.show(
        [finding._asdict() for finding in found],
        lambda: "\n".join(f"{f.level:8} {escape(f.what)}" for f in found),
    )
    ctx.exit(int(any(finding.level == "problem" for finding in found)))
