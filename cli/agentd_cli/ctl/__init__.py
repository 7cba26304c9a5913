"""``agentctl``: talk to a daemon that runs. One file per verb: parse, one client call, render."""

from __future__ import annotations

from typing import Any

import click

from agentd_cli import exits
from agentd_cli.ctl.agents import agents
from agentd_cli.ctl.audit import audit
from agentd_cli.ctl.call import call
from agentd_cli.ctl.completion import completion
from agentd_cli.ctl.context import Ctl, common_options
from agentd_cli.ctl.create import create
from agentd_cli.ctl.delete import delete
from agentd_cli.ctl.doctor import doctor
from agentd_cli.ctl.get import get
from agentd_cli.ctl.inspect import inspect
from agentd_cli.ctl.keygen import keygen
from agentd_cli.ctl.keys import keys
from agentd_cli.ctl.logs import logs
from agentd_cli.ctl.ping import ping
from agentd_cli.ctl.status import status
from agentd_cli.ctl.stop import stop
from agentd_cli.ctl.trust import trust
from agentd_cli.usage import SafeGroup

__all__ = ["main"]


class _Agentctl(SafeGroup):
    """The group that turns errors into one sentence on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. An exception that is no error of agentd is a bug here, and stays one."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            if not _is_expected(error):
                raise
            ctx.ensure_object(Ctl).tell(error)
            ctx.exit(exits.code_of(error, exits.CTL))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes below the commands."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(row.code), row.meaning) for row in exits.CTL])
        super().format_epilog(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Keep the order of the file: from looking to changing."""
        return list(self.commands)


def _is_expected(error: Exception) -> bool:
    from agentd.errors import AgentdError

    return isinstance(error, (AgentdError, exits.RemoteRaised))


@click.group(cls=_Agentctl, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name="agentd-server", prog_name="agentctl", message="%(prog)s %(version)s"
)
@common_options
def main() -> None:
    """Look at a running agentd and the agents that it hosts, create them, call them.

    An AGENT is a name, an id, or at least the first 4 characters of an id. ARGS are JSON where
    they parse as JSON, else text: 5 is a number, hello is text, and so is '"5"'.
    """


for _verb in (
    status,
    agents,
    create,
    call,
    get,
    inspect,
    logs,
    delete,
    ping,
    stop,
    keygen,
    keys,
    trust,
    doctor,
    audit,
    completion,
):
    main.add_command(_verb)
