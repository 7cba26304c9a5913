"""``agentctl create``: an agent that lives until it is deleted."""

from __future__ import annotations

from typing import Any, Final

import click

from agentd_cli.ctl.arguments import (
    MethodCommand,
    keywords,
    method_arguments,
    secrets,
    sendable,
    value,
)
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["create"]

# The parameters of Client.create: a class whose own have these names is made from Python.
_TAKEN: Final = frozenset({"self", "path", "options"})


@click.command(cls=MethodCommand)
@click.argument("path", metavar="PKG.MOD:CLASS|NAME", type=sendable)
@method_arguments
@click.option("--name", metavar="NAME", type=sendable, help="A name, unique in its daemon.")
@click.option(
    "--get-if-exists", is_flag=True, help="Take the agent of that name and class, if there is one."
)
@click.option(
    "--limit",
    "limit_pairs",
    metavar="K=N",
    multiple=True,
    help="What its worker may use: memory_bytes, cpu_s or files; may be repeated.",
)
@click.option("--dedicated", is_flag=True, help="Give it a worker process of its own.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait no longer for it to be ready; it goes on starting.",
)
@common_options
@pass_ctl
def create(
    ctl: Ctl,
    path: str,
    args: tuple[str, ...],
    pairs: tuple[str, ...],
    secret_pairs: tuple[str, ...],
    name: str | None,
    get_if_exists: bool,
    dedicated: bool,
    limit_pairs: tuple[str, ...],
    timeout: float | None,
) -> None:
    """Create an agent, wait until it is ready, and print its id.

    The daemon imports the class, so its folder must be known there: agentd serve --path DIR. Where
    it takes no code from you, the class has to be registered; NAME is one that is.
    """
    module, colon, cls = path.partition(":")
    if not module or (colon and not cls) or (not colon and "." in path):
        raise click.UsageError(
            f"{path}: expected PKG.MOD:CLASS, like shop.stock:Counter, or a registered name"
        )
    if get_if_exists and name is None:
        raise click.UsageError("--get-if-exists needs --name NAME")
    kwargs = {**keywords(pairs, taken=_TAKEN), **secrets(secret_pairs)}
    options: dict[str, Any] = {"lifetime": "daemon"}
    if name is not None:
        options["name"] = name
    if get_if_exists:
        options["get_if_exists"] = True
    if dedicated:
        options["worker"] = "dedicated"
    if limit_pairs:
        options["limits"] = keywords(limit_pairs, option="--limit")
    with ctl.connect() as client:
        proxy = client.create(path, *map(value, args), options=options, **kwargs)
        handle = ctl.library.handle(proxy)
        handle.wait(timeout)
        made = {"id": handle.id, "name": handle.name, "cls": path}
    ctl.show(made, lambda: str(made["id"]))
