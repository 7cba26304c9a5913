"""Arguments of an agent's method, as people type them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import click

from agentd_cli.text import escape

__all__ = ["MethodCommand", "keywords", "method_arguments", "secrets", "sendable", "value"]

_F = TypeVar("_F", bound=Callable[..., Any])
_NEGATIVE_NUMBER = re.compile(r"-(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def sendable(text: str) -> str:
    """Refuse bytes that are no UTF-8, which Python keeps as lone surrogates; a type for click."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise click.BadParameter(f"{escape(text)} is not UTF-8")
    return text


def value(text: str) -> Any:
    """Read JSON where the text is JSON, else take it as it is: ``5``, ``'[1, 2]'``, ``hello``.

    A text that looks like JSON is written with its quotes: ``'"5"'``.
    """
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text


def keywords(
    pairs: Iterable[str], taken: frozenset[str] = frozenset(), *, option: str = "--kw"
) -> dict[str, Any]:
    """Read ``K=V`` pairs; ``taken`` are keywords that the library uses itself."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option} {pair}: expected K=V, like {option} depth=3")
        if key in found:
            raise click.UsageError(f"{option} {pair}: {key} was given before")
        if key in taken:
            raise click.UsageError(f"--kw {pair}: agentd uses this keyword itself; use Python")
        found[key] = value(text)
    return found


def secrets(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``K=NAME`` pairs: keywords that are secrets of the daemon's."""
    from agentd import Secret

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, name = pair.partition("=")
        if not key or not equals:
            # Not quoted: somebody may have typed the secret itself.
            raise click.UsageError("--secret: expected K=NAME, like --secret key=openai")
        found[key] = Secret(name)
    return found


def method_arguments(command: _F) -> _F:
    """Add ``[ARGS]... [--kw K=V]... [--secret K=NAME]...`` to a command."""
    command = click.argument("args", nargs=-1)(command)
    command = click.option(
        "--secret",
        "secret_pairs",
        metavar="K=NAME",
        multiple=True,
        help="A keyword argument that is a secret of the daemon's, by its name; may be repeated.",
    )(command)
    return click.option(
        "--kw", "pairs", metavar="K=V", multiple=True, help="A keyword argument; may be repeated."
    )(command)


class MethodCommand(click.Command):
    """A command whose arguments may be negative numbers: ``agentctl call tally add -1``.

    Click would take ``-1`` for an option. It is told to let unknown options pass as arguments, and
    those that are no numbers are refused here, so that a misspelt option is not sent to an agent.
    """

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse unknown options first, then parse as always."""
        known = {name: p for p in self.get_params(ctx) for name in p.opts}
        rest = iter(args)
        for text in rest:
            if text == "--":
                break
            name, equals, _ = text.partition("=")
            param = known.get(name)
            if isinstance(param, click.Option):
                if not param.is_flag and not equals:
                    next(rest, None)  # the option's value, whatever it looks like
            elif text.startswith("-") and text != "-" and not _NEGATIVE_NUMBER.fullmatch(text):
                raise click.NoSuchOption(name, possibilities=_near(name, known), ctx=ctx)
        return super().parse_args(ctx, args)


def _near(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, [each for each in known if each.startswith("-")])


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are Python's additions, not JSON
