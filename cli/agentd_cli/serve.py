"""``agentd``: run the daemon in the foreground, until a signal stops it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from agentd_cli import exits
from agentd_cli.text import escape
from agentd_cli.usage import SafeGroup

__all__ = ["main"]


class _Serve(click.Command):
    """The command with its settings and exit codes told in ``--help``."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the options do not show."""
        from agentd.config import describe

        with formatter.section("Settings (flag, then variable, then --config FILE, then default)"):
            formatter.write_dl([(s.variable, s.why + _default(s.default)) for s in describe()])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(row.code), row.meaning) for row in exits.SERVE])
        super().format_epilog(ctx, formatter)


def _default(text: str) -> str:
    """Show a default; of what is empty the reason says what that means."""
    return "" if text in ("[]", "{}", '""') else f"  [{text}]"


@click.group(cls=SafeGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name="agentd-server", prog_name="agentd", message="%(prog)s %(version)s"
)
def main() -> None:
    """Host ordinary Python objects in supervised worker processes."""


@main.command(cls=_Serve)
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False),
    help="Settings as TOML; configs/agentd.toml of the project lists all of them.",
)
@click.option(
    "--bind",
    metavar="ENDPOINT",
    multiple=True,
    help="Where to listen: ipc:///absolute/path, unix:///absolute/path (for other users, too) or "
    "tcp://HOST:PORT; may be given more than once.",
)
@click.option("--workers", type=int, metavar="N", help="Worker processes; 0: one per core.")
@click.option(
    "--worker-ports",
    metavar="FIRST-LAST",
    help="Ports for workers, so that clients over TCP call them straight (5600-5699).",
)
@click.option(
    "--path",
    metavar="DIR",
    multiple=True,
    help="A folder that agents' classes can be imported from; may be given more than once.",
)
@click.option(
    "--safe",
    is_flag=True,
    default=None,
    help="No pickle anywhere: only plain data, and only agents that are registered.",
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning, error or critical.")
@click.option("--log-format", metavar="FORMAT", help="text or json.")
@click.pass_context
def serve(ctx: click.Context, /, file: str | None, **flags: Any) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    The first signal finishes open calls within a grace period, a second one ends at once.
    """
    from agentd.config import load
    from agentd.errors import AgentdError
    from agentd_cli import logs

    try:
        config = load(file, flags=flags)
        logs.configure(config.log_level, config.log_format)
        _warn_of_missing(config.path)
        # Only now: a wrong setting is told without the time that the daemon's imports take.
        from agentd.server.daemon import serve as run

        code = run(config)
        _ignore_signals()
        ctx.exit(code)
    except AgentdError as error:
        click.echo(exits.sentence_of(error), err=True)
        ctx.exit(exits.code_of(error, exits.SERVE))
    except OSError as error:
        if error.filename is None:  # not a file or folder of the settings: a bug, or the machine
            raise
        click.echo(f"cannot use {escape(str(error.filename))}: {error.strerror}", err=True)
        ctx.exit(1)


def _ignore_signals() -> None:
    """Let no further signal end a daemon that has stopped: that would look like a crash."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _warn_of_missing(folders: Iterable[str]) -> None:
    """Tell of a folder that is not there: probably misspelt, though it may still appear."""
    for folder in folders:
        if not Path(folder).is_dir():
            logging.getLogger("agentd").warning(
                "no such folder to import from", extra={"action": "path_missing", "path": folder}
            )
