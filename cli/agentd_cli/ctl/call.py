"""``agentctl call``: one method, one answer, or its items as they come."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from typing import Any

import click

from agentd_cli import render
from agentd_cli.ctl.arguments import (
    MethodCommand,
    keywords,
    method_arguments,
    secrets,
    sendable,
    value,
)
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.ctl.remote import agents_code

__all__ = ["call"]


@click.command(cls=MethodCommand)
@click.argument("agent", type=sendable)
@click.argument("method", type=sendable)
@method_arguments
@click.option(
    "--stream", is_flag=True, help="Print each item of a generator method as it comes, a line each."
)
@click.option(
    "--raw",
    is_flag=True,
    help="Print text without quotes; of a stream also without line ends between the items.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait no longer; the agent goes on with the call, but a stream is closed.",
)
@common_options
@pass_ctl
def call(
    ctl: Ctl,
    agent: str,
    method: str,
    args: tuple[str, ...],
    pairs: tuple[str, ...],
    secret_pairs: tuple[str, ...],
    stream: bool,
    raw: bool,
    timeout: float | None,
) -> None:
    """Call a method of an agent and print what it returns.

    Plain data is printed as JSON, anything else as Python writes it; with --json that is
    {"repr": "..."}. Ctrl-C gives the call up; that closes a stream, and its generator.
    """
    kwargs = {**keywords(pairs), **secrets(secret_pairs)}
    if raw and ctl.as_json:
        raise click.UsageError("--raw prints text for people, --json prints it for programs")
    with ctl.connect() as client:
        proxy = client.get(agent)
        with agents_code():
            found = getattr(proxy, method)
            submit = getattr(found, "submit", None)
        if submit is None:
            raise click.UsageError(
                f"{method} is no method; read it with: agentctl get {agent} {method}"
            )
        what = f"{agent}.{method}"
        # All of it within the connection: the repr of a reference may ask the daemon.
        if stream:
            with agents_code():
                items = found.options(timeout=timeout).stream(*map(value, args), **kwargs)
            with closing(items):
                _print_items(ctl, _read(items, what, timeout), raw=raw)
            return
        with agents_code():
            result = _result(submit(*map(value, args), **kwargs), what, timeout)
        if isinstance(result, Iterator):
            raise click.UsageError(f"{method} gives its items one by one; read them with --stream")
        text = render.raw if raw else render.result
        ctl.show(result, lambda: text(result))


def _result(future: Future[Any], what: str, timeout: float | None) -> Any:
    """Wait for it; a ``TimeoutError`` of the agent is not one of ours."""
    try:
        done = wait([future], timeout).done
    except KeyboardInterrupt:
        future.cancel()
        raise
    if not done:
        from agentd.errors import CallTimeout

        raise CallTimeout(
            f"{what} is not done after {timeout:g} s; the agent goes on with it", timeout=timeout
        )
    return future.result()


def _read(items: Iterator[Any], what: str, timeout: float | None) -> Iterator[Any]:
    """The items; what is raised here is the agent's, what printing raises is not."""
    from agentd.errors import CallTimeout

    while True:
        try:
            with agents_code():
                item = next(items, _END)
        except CallTimeout as error:
            if timeout is None:
                raise
            raise CallTimeout(
                f"{what} is not done after {timeout:g} s; the stream is closed", timeout=timeout
            ) from error
        if item is _END:
            return
        yield item


def _print_items(ctl: Ctl, items: Iterator[Any], *, raw: bool) -> None:
    """Print each item at once. Whatever ends the items, what is printed ends with its line."""
    within_line = False
    try:
        for item in items:
            if raw and isinstance(item, str):
                text = render.raw(item)
                click.echo(text, nl=False)
                within_line = not text.endswith("\n") if text else within_line
            else:
                lead = "\n" if within_line else ""
                click.echo(lead + render.item(item, as_json=ctl.as_json))
                within_line = False
    finally:
        if within_line:
            click.echo()


_END: Any = object()
