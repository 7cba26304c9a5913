"""Messages about a wrong command line quote it, and it may come from a program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from agentd_cli.text import escape

__all__ = ["SafeGroup"]


class SafeGroup(click.Group):
    """A group of commands whose usage errors hold nothing that a terminal obeys."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read our own options."""
        with _escaped():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Read those of the command, and run it."""
        with _escaped():
            return super().invoke(ctx)


@contextmanager
def _escaped() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        safe = escape(error.message, keep="\n")
        setattr(error, "message", safe)  # noqa: B010 - for checkers it is final
        raise
