"""``python -m benchmarks``: run, compare, profile, docs. See ``--help`` of each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import compare, docs, profiling, revision, table
from benchmarks.contestants import TITLES
from benchmarks.results import Results
from benchmarks.rows import ROWS, UnknownRow, choose
from benchmarks.rows.row import Row
from benchmarks.run import Runner, run

__all__ = ["main"]

FOLDER = revision.ROOT / "build" / "bench"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a row failed; goals that are not met are no failure."""
    options = _parser().parse_args(argv)
    try:
        return int(options.action(options))
    except UnknownRow as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)

    runs = commands.add_parser("run", help="agentd and the floors, every row, with the goals")
    runs.set_defaults(action=_run)
    compares = commands.add_parser("compare", help="this revision and another one")
    compares.add_argument("base", help="a revision, as git knows it")
    compares.set_defaults(action=_compare)
    for each in (runs, compares):
        _rows_option(each)
        passes = 3 if each is runs else compare.SURE
        each.add_argument("--passes", type=_positive, default=passes, help="default: %(default)s")
        tiers = each.add_mutually_exclusive_group()
        for tier, what in (
            ("quick", "tiny counts: whether it runs, not how fast it is"),
            ("long", "the largest counts: 100,000 agents, 5,000 connections, 1,000 processes"),
        ):
            tiers.add_argument(
                f"--{tier}",
                dest="tier",
                action="store_const",
                const=tier,
                default="full",
                help=what,
            )
        each.add_argument("--out", type=Path, help="the JSON file; default: build/bench/REV.json")
        each.add_argument(
            "--python", help="the interpreter whose agentd is measured; default: this one"
        )

    profiles = commands.add_parser("profile", help="where a call's microseconds go")
    some = "some of: %(default)s,aio,create,kib,mib,array,naps,delete"
    profiles.add_argument("--rows", default="call,pipelined", help=some)
    profiles.add_argument("--seconds", type=float, default=5.0, help="default: %(default)s")
    profiles.add_argument("--cprofile", action="store_true", help="not py-spy")
    profiles.set_defaults(action=_profile)

    writes = commands.add_parser("docs", help="put results into docs/benchmarks.md")
    writes.add_argument("--run", type=Path, help="a JSON file of `run`")
    writes.add_argument("--peers", type=Path, help="results.json of a harness that ran the peers")
    writes.add_argument("--page", type=Path, default=revision.ROOT / "docs" / "benchmarks.md")
    writes.set_defaults(action=_docs)
    return parser


def _rows_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", default="", help=f"comma separated, of {','.join(ROWS)}")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measured(
    options: argparse.Namespace, rows: list[Row], runners: list[Runner], name: str
) -> Results:
    results = run(
        rows,
        runners,
        passes=options.passes,
        tier=options.tier,
        revision=name,
        tell=_tell,
    )
    file = options.out or FOLDER / f"{name.replace('/', '_')}.json"
    results.write(file)
    _tell(f"{results.seconds:.0f} s in all; wrote {file}")
    return results


def _run(options: argparse.Namespace) -> int:
    rows = choose(_names(options.rows))
    runners = [Runner(kind, kind, title, options.python) for kind, title in TITLES.items()]
    results = _measured(options, rows, runners, revision.revision())
    _show(table.HEAD, [tuple(line) for line in table.lines(results)], _title(results))
    met, judged = table.met(results)
    print(f"{met} of {judged} goals are met. Peers' figures are of another run: docs/benchmarks.md")
    return _failures(results)


def _compare(options: argparse.Namespace) -> int:
    rows = choose(_names(options.rows))
    with revision.checked_out(options.base, _tell, compiled=options.python is not None) as python:
        runners = [
            Runner(compare.BASE, "agentd", options.base, python),
            Runner(compare.THIS, "agentd", "this", options.python),
        ]
        name = f"{revision.revision()}-against-{options.base}"
        results = _measured(options, rows, runners, name)
    if len(set(results.agentd.values())) < len(results.agentd):
        _tell(f"bench: both measured the same package: {results.agentd}")
        return 1
    _show(compare.HEAD, list(compare.comparison(results)), _title(results))
    return _failures(results)


def _profile(options: argparse.Namespace) -> int:
    from benchmarks.busy import WORK

    sampler = None if options.cprofile else profiling.py_spy()
    for row in _names(options.rows):
        if row not in WORK:
            raise UnknownRow(f"{row!r} cannot be profiled, only {', '.join(WORK)}")
        for line in profiling.profile(row, options.seconds, sampler):
            print(line)
        print()
    return 0


def _docs(options: argparse.Namespace) -> int:
    docs.update(options.page, options.run, options.peers)
    return 0


def _title(results: Results) -> str:
    spread = f"{min(results.probes_ms)}..{max(results.probes_ms)}" if results.probes_ms else "-"
    return (
        f"{results.what}, {results.date}; {results.machine['cores']} cores, "
        f"Python {results.machine['python']}; {results.passes} passes ({results.tier}): "
        f"median (least..most); probe {spread} ms"
    )


def _show(head: tuple[str, ...], rows: list[tuple[str, ...]], title: str) -> None:
    from rich.console import Console

    # Not folded into 80 columns where nobody sees a terminal: a log is searched.
    console = Console() if sys.stdout.isatty() else Console(width=400)
    console.print(table.rich_table(head, rows, title))


def _failures(results: Results) -> int:
    failed = 0
    for name, found in results.rows.items():
        for error in found.errors:
            _tell(f"bench: {name}: {error}")
            failed = 1
        if found.left_running:
            _tell(f"bench: {name}: {found.left_running} processes were left running")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
