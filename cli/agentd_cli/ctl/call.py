"""``agentctl call``: one method, one answer."""

from __future__ import annotations

from concurrent.futures import Future, wait
from typing import Any

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import MethodCommand, keywords, method_arguments, sendable, value
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.ctl.remote import agents_code

__all__ = ["call"]


@click.command(cls=MethodCommand)
@click.argument("agent", type=sendable)
@click.argument("method", type=sendable)
@method_arguments
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait no longer; the agent goes on with the call.",
)
@common_options
@pass_ctl
def call(
    ctl: Ctl,
    agent: str,
    method: str,
    args: tuple[str, ...],
    pairs: tuple[str, ...],
    timeout: float | None,
) -> None:
    """Call a method of an agent and print what it returns.

    Plain data is printed as JSON, anything else as Python writes it; with --json that is
    {"repr": "..."}.
    """
    kwargs = keywords(pairs)
    with ctl.connect() as client:
        proxy = client.get(agent)
        with agents_code():
            submit = getattr(getattr(proxy, method), "submit", None)
        if submit is None:
            raise click.UsageError(
                f"{method} is no method; read it with: agentctl get {agent} {method}"
            )
        with agents_code():
            result = _result(submit(*map(value, args), **kwargs), f"{agent}.{method}", timeout)
        # Within the connection: the repr of a reference may ask the daemon.
        ctl.show(result, lambda: render.result(result))


def _result(future: Future[Any], what: str, timeout: float | None) -> Any:
    """Wait for it; a ``TimeoutError`` of the agent is not one of ours."""
    if not wait([future], timeout).done:
        from agentd.errors import CallTimeout

        raise CallTimeout(
            f"{what} is not done after {timeout:g} s; the agent goes on with it", timeout=timeout
        )
    return future.result()
