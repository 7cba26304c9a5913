"""``agentctl create``: an agent that lives until it is deleted."""

from __future__ import annotations

from typing import Final

import click

from agentd_cli.ctl.arguments import MethodCommand, keywords, method_arguments, value
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl

__all__ = ["create"]

# The parameters of Client.create: a class whose own have these names is made from Python.
_TAKEN: Final = frozenset({"self", "path", "options"})


@click.command(cls=MethodCommand)
@click.argument("path", metavar="PKG.MOD:CLASS")
@method_arguments
@click.option("--name", metavar="NAME", help="A name, unique in its daemon.")
@common_options
@pass_ctl
def create(
    ctl: Ctl, path: str, args: tuple[str, ...], pairs: tuple[str, ...], name: str | None
) -> None:
    """Create an agent, wait until it is ready, and print its id.

    The daemon imports the class, so its folder must be known there: agentd serve --path DIR.
    """
    module, colon, cls = path.partition(":")
    if not (module and colon and cls):
        raise click.UsageError(f"{path}: expected PKG.MOD:CLASS, like shop.stock:Counter")
    kwargs = keywords(pairs, taken=_TAKEN)
    options = {"lifetime": "daemon"} | ({"name": name} if name else {})
    with ctl.connect() as client:
        proxy = client.create(path, *map(value, args), options=options, **kwargs)
        handle = ctl.library.handle(proxy)
        handle.wait()
        made = {"id": handle.id, "name": handle.name, "cls": path}
    ctl.show(made, lambda: str(made["id"]))
