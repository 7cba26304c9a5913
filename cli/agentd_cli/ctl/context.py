"""What all verbs share: the options of every command, the way to the daemon, the output."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import click

from agentd_cli.ctl import advice
from agentd_cli.text import escape, to_json

__all__ = ["Client", "Ctl", "Library", "common_options", "pass_ctl"]

_F = TypeVar("_F", bound=Callable[..., Any])
Facts = dict[str, Any]


class Client(Protocol):
    """What agentctl relies on of ``agentd.Client``."""

    @property
    def endpoint(self) -> str: ...
    def info(self) -> Facts: ...
    def agents(self) -> list[Facts]: ...
    def inspect(self, id_or_name: str) -> Facts: ...
    def create(self, path: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def get(self, id_or_name: str) -> Any: ...
    def logs(self, id_or_name: str, after: int = 0, wait: float = 0.0) -> Facts: ...
    def delete(self, *ids_or_names: str) -> list[str]: ...
    def ping(self) -> float: ...
    def stop(self) -> None: ...


class Library(Protocol):
    """What agentctl relies on of the module ``agentd``; tests pass a fake."""

    def connect(
        self, endpoint: str | None = None, *, embedded: bool = False
    ) -> AbstractContextManager[Client]: ...
    def handle(self, proxy: Any) -> Any: ...


@dataclass
class Ctl:
    """One run of agentctl."""

    endpoint: str | None = None
    as_json: bool = False
    traceback: bool = False
    injected: Library | None = None

    @property
    def library(self) -> Library:
        """The module agentd, imported by the first verb that needs it."""
        if self.injected is None:
            import agentd

            self.injected = cast("Library", agentd)
        return self.injected

    def connect(self) -> AbstractContextManager[Client]:
        """Connect to a daemon that runs already: agentctl never starts one by itself."""
        return self.library.connect(self.endpoint, embedded=False)

    def show(self, value: Any, text: Callable[[], str]) -> None:
        """Print ``value`` for programs or ``text()`` for people, as asked."""
        click.echo(to_json(value) if self.as_json else text())

    def note(self, text: str) -> None:
        """Tell people something that is no result; it never stands among a program's input."""
        if not self.as_json:
            click.echo(text, err=True)

    def tell(self, error: Exception) -> None:
        """Print an error on stderr: one sentence, and more only if it was asked for."""
        click.echo(advice.sentence(error, self.endpoint), err=True)
        if self.traceback:
            click.echo(escape(advice.traceback_of(error), keep="\n").rstrip(), err=True)


pass_ctl = click.make_pass_decorator(Ctl)


def common_options(command: _F) -> _F:
    """Add the options that are accepted both before and after the verb."""
    for option in (
        click.option(
            "--traceback",
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Print the traceback of what the agent raised.",
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Print JSON, for programs.",
        ),
        click.option(
            "--endpoint",
            metavar="ENDPOINT",
            expose_value=False,
            callback=_remember,
            help="The daemon; default: $AGENTD_ENDPOINT, else this user's own.",
        ),
    ):
        command = option(command)
    return command


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option that was given; one after the verb wins over one before it."""
    ctl = ctx.ensure_object(Ctl)
    if value and param.name is not None:
        setattr(ctl, param.name, value)
