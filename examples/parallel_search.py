"""Five agents search the standard library side by side: it takes as long as the slowest of them.

    python examples/parallel_search.py
    python examples/parallel_search.py recieve lenght     # words of yours, misspelt as you like

Each agent holds a fifth of the source of Python's standard library and finds the words in it that
look most like those asked for. No index helps there: every word is compared. Then the same search
once more, one agent after the other, for comparison.

The search is all computing, so it is as parallel as the machine: five agents on two cores take two
and a half times as long as five on five. Agents that wait (for a network, say) have no such limit.
"""

from __future__ import annotations

import heapq
import io
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterable
from concurrent.futures import as_completed
from contextlib import ExitStack
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import agentd

AGENTS = 5
WORDS = (
    *("TemporyDirectory", "seperator", "get_file_extention", "asynchronus_itterator"),
    *("recieve_mesage", "ParralelExecuter"),
)
NOT_LIBRARY = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "__pycache__"}


class Hit(NamedTuple):
    """A word of the library that looks like one that was asked for."""

    likeness: float  # 1.0: the same
    defined: bool  # a class or function of that name is defined there
    word: str
    place: str


class Found(NamedTuple):
    """What an agent found for each word, and how long it searched."""

    hits: dict[str, list[Hit]]
    seconds: float


class Searcher(agentd.Agent):
    """Reads some files when it is made, then compares words with all that stand in them."""

    def __init__(self, root: str, files: list[str]) -> None:
        self.places: dict[str, tuple[bool, str]] = {}
        for file in files:
            lines = Path(root, file).read_text(encoding="utf-8", errors="replace").splitlines()
            for number, line in enumerate(lines, 1):
                place = f"{file}:{number}"
                for word in re.findall(r"[A-Za-z_]\w{2,}", line):
                    self.places.setdefault(word, (False, place))
                definition = re.match(r" *(?:async )?(?:def|class) (\w+)", line)
                if definition and not self.places.get(definition[1], (False, ""))[0]:
                    self.places[definition[1]] = (True, place)

    def size(self) -> int:
        return len(self.places)

    def search(self, words: Iterable[str], limit: int = 3) -> Found:
        began = time.monotonic()
        hits = {word: self.like(word, limit) for word in words}
        return Found(hits, time.monotonic() - began)

    def like(self, word: str, limit: int) -> list[Hit]:
        matcher = SequenceMatcher(None, "", word.lower(), autojunk=False)
        hits = []
        for other, (defined, place) in self.places.items():
            matcher.set_seq1(other.lower())
            # Each of these is an upper bound of the next, and cheaper.
            if matcher.real_quick_ratio() > 0.6 and matcher.quick_ratio() > 0.6:
                hits.append(Hit(matcher.ratio(), defined, other, place))
        return heapq.nlargest(limit, hits)


# -- the client -----------------------------------------------------------------------------------


def shards(root: Path) -> list[list[str]]:
    """The files of the standard library in five parts, about equal in size."""
    files = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in NOT_LIBRARY and name.isidentifier()]
        paths = (Path(folder, name) for name in names if name.endswith(".py"))
        files += [(path.stat().st_size, str(path.relative_to(root))) for path in paths]
    parts: list[tuple[int, int, list[str]]] = [(0, number, []) for number in range(AGENTS)]
    for size, file in sorted(files, reverse=True):
        total, number, part = heapq.heappop(parts)  # the one that has least so far
        heapq.heappush(parts, (total + size, number, [*part, file]))
    return [part for _, _, part in parts]


def run(words: tuple[str, ...], console: Console) -> None:
    root = Path(sysconfig.get_path("stdlib"))
    with ExitStack() as stack:
        stack.enter_context(agentd.connect())
        began = time.monotonic()
        team: list[Any] = [  # checkers know no .submit of a method
            # A process each: five that compute in one would take turns.
            Searcher(str(root), files, to_dist={"worker": "dedicated"})
            for files in shards(root)
        ]
        for agent in team:
            stack.enter_context(agentd.handle(agent))  # deletes the agent at the end
        sizes = [agent.size() for agent in team]  # waits until they have read their files
        console.print(
            f"{AGENTS} agents read {sum(sizes):,} words in {time.monotonic() - began:.1f} s, "
            f"side by side. Now they look for {', '.join(words)}.",
            markup=False,
        )

        console.print("\nSide by side, each told when it is done:", style="bold cyan")
        began = time.monotonic()
        numbers = {agent.search.submit(words): number for number, agent in enumerate(team)}
        together: dict[int, Found] = {}
        for result in as_completed(numbers):  # an AsyncResult is a Future
            together[numbers[result]] = result.result()
            console.print(f"  {time.monotonic() - began:.2f} s  agent {numbers[result]}")
        parallel = time.monotonic() - began

        began = time.monotonic()
        alone = [agent.search(words) for agent in team]
        sequential = time.monotonic() - began

    table = Table("agent", "words", "side by side", "alone", box=None, pad_edge=False)
    for number, size in enumerate(sizes):
        spans = (found.seconds for found in (together[number], alone[number]))
        table.add_row(str(number), f"{size:,}", *(f"{span:.2f} s" for span in spans))
    console.print()
    console.print(table)
    slowest = max(found.seconds for found in together.values())
    console.print(f"\nSide by side         {parallel:.2f} s; the slowest took {slowest:.2f} s")
    console.print(f"One after the other  {sequential:.2f} s; the sum of all")
    cores = len(os.sched_getaffinity(0))
    if cores < AGENTS:
        console.print(f"{AGENTS} agents shared {cores} cores here, so each took longer than alone.")
    same = all(together[number].hits == found.hits for number, found in enumerate(alone))
    console.print(f"The same was found both times: {same}")
    show(words, alone, console)


def show(words: tuple[str, ...], by_agent: list[Found], console: Console) -> None:
    console.print("\nWhat looks most like it:", style="bold cyan")
    for word in words:
        best = max((hit for found in by_agent for hit in found.hits[word]), default=None)
        text = f"{best.word}  {best.likeness:.0%}  {best.place}" if best else "nothing"
        console.print(f"  {word:<22} {text}", markup=False)


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal loses a character, no more
    try:
        run(tuple(dict.fromkeys(sys.argv[1:])) or WORDS, Console(highlight=False, soft_wrap=True))
    except agentd.errors.AgentdError as error:
        print(f"parallel_search: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("parallel_search: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
