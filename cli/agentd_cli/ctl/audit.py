"""``agentctl audit``: read and check what a daemon wrote down. Needs no daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from agentd_cli import render
from agentd_cli.ctl.context import Ctl, common_options, pass_ctl
from agentd_cli.text import escape

__all__ = ["audit"]

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.group()
def audit() -> None:
    """Read the audit log, or check that nothing was changed in it."""


@audit.command()
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
@common_options
@pass_ctl
def verify(ctl: Ctl, files: tuple[Path, ...]) -> None:
    """Check the chain of FILEs, the oldest first; exit code 1 if it is broken.

    Beside the newest lies its head, FILE.head; with it a cut-off end is found, too.
    """
    from agentd.auditlog import Head
    from agentd.auditlog import verify as check

    problems: list[dict[str, Any]] = []
    before: Any = None
    for file in files:
        beside = file.with_name(file.name + ".head")
        is_last = file == files[-1] and beside.is_file()
        head = Head.decode(beside.read_bytes()) if is_last else None
        with file.open("rb") as lines:
            for found in check(lines, before, head):
                if isinstance(found, Head):
                    before = found
                else:
                    problems.append({"file": str(file), **found._asdict()})
    facts = {"intact": not problems, "lines": before.n, "hash": before.hash, "problems": problems}
    ctl.show(facts, lambda: "\n".join(_verdict(facts)))
    if problems:
        click.get_current_context().exit(1)


def _verdict(facts: dict[str, Any]) -> Iterator[str]:
    for each in facts["problems"]:
        line = f" line {each['line']}" if each["line"] else ""
        yield f"{escape(each['file'])}{line}: {escape(each['what'])}"
    if facts["intact"]:
        yield f"intact up to line {facts['lines']}, whose hash is {facts['hash']}"


@audit.command()
@click.argument("file", metavar="FILE", type=_FILE)
@common_options
@pass_ctl
def show(ctl: Ctl, file: Path) -> None:
    """Print the records of FILE."""
    from agentd.auditlog import read

    records = [found for line in file.read_bytes().splitlines() if (found := read(line))]
    ctl.show(records, lambda: render.audit(records))
