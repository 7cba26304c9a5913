"""Two agents who know Python's standard library, hosted by a daemon.

    python examples/librarian.py                                  # or: make run
    python examples/librarian.py "how do I shuffle a list?"       # your own questions

`Librarian` is started with `to_dist=True`: its `__init__`, which reads the whole standard library
and builds a full-text index, runs in a worker of the daemon and never here. `Advisor` is made and
trained here, then moved with `.to_dist()`: what it has learned goes along, its `__init__` does not
run again. A third, `Progress`, is handed to the librarian as an argument: an agent calls an agent.

The three classes are in `__main__`, and what reads documentation is in `stdlib_docs.py` beside it:
no daemon can import either. The classes travel by value, and the module along with them.
"""

from __future__ import annotations

import io
import math
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text
from stdlib_docs import SMALL_WORDS, Entry, first_paragraph, readers, words_of

import agentd

QUESTIONS = (
    "How do I read a CSV file?",
    "copy a file",
    "run a subprocess and capture its output",
    "parse command line arguments",
    "create a temporary directory",
)


def note_init(log: Path, agent: object) -> None:
    """Each `__init__` here adds a line to a file, so that we can count afterwards."""
    with log.open("a") as file:
        file.write(f"{type(agent).__name__} {os.getpid()}\n")


# -- the agents -----------------------------------------------------------------------------------


class Progress(agentd.Agent):
    """Where two that do not wait for each other meet: one writes, the other reads."""

    def __init__(self, log: Path) -> None:
        note_init(log, self)
        self.state: tuple[int, int, str] = (0, 1, "starting")

    def update(self, done: int, total: int, what: str) -> None:
        self.state = (done, total, what)

    def read(self) -> tuple[int, int, str]:
        return self.state


class Answer(NamedTuple):
    name: str
    kind: str
    signature: str
    summary: str


class Librarian(agentd.Agent):
    """A full-text index over the documentation of the standard library.

    Heavy to build, and it holds an open database: nothing to send anywhere. So it is built where
    it will live.
    """

    def __init__(self, log: Path, progress: Progress) -> None:
        note_init(log, self)
        started = time.monotonic()
        # An agent's calls run one at a time, but not always on the same thread.
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE entry USING fts5(title, place, summary, doc, "
                "module UNINDEXED, name UNINDEXED, kind UNINDEXED, signature UNINDEXED, "
                "length UNINDEXED, tokenize='porter unicode61')"
            )
        except sqlite3.OperationalError as error:
            raise RuntimeError(f"this Python's sqlite3 has no full-text search: {error}") from error
        entries = self._read(progress)
        progress.update(99, 100, "indexing")
        self._index(entries)
        self._entries, self._modules = len(entries), len({entry.module for entry in entries})
        self._seconds = time.monotonic() - started

    def _read(self, progress: Progress) -> list[Entry]:
        entries: dict[tuple[str, str], Entry] = {}
        modules = readers()
        told = 0.0
        for done, (name, read) in enumerate(modules):
            if time.monotonic() - told > 0.1:  # each is a call to another agent: not too many
                progress.update(done, len(modules), name)
                told = time.monotonic()
            for entry in read():
                entries.setdefault((entry.module, entry.name), entry)
        return list(entries.values())

    def _index(self, entries: list[Entry]) -> None:
        # `copyfile` has to be found by "copy file", and a `Reader` by "read". Which names are made
        # of other words? Those whose parts are words that the documentation uses.
        used = Counter(word for entry in entries for word in set(words_of(entry.doc)))
        known = {word for word, times in used.items() if times >= 25 and len(word) >= 3}
        rows = []
        for entry in entries:
            place, _, short = f"{entry.module}.{entry.name}".strip(".").rpartition(".")
            summary = first_paragraph(entry.doc)
            parts = {word: _parts(word, known) for word in words_of(f"{short} {place}")}
            title, around = (
                " ".join(part for word in words_of(name) for part in (word, *parts[word]))
                for name in (short, place)
            )
            length = sum(max(1, len(parts[word])) for word in words_of(short))
            rest = entry.doc[len(summary) :]
            rows.append((title, around, summary, rest, *entry[:4], length))
        with self._db:
            self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def ask(self, question: str, limit: int = 3) -> list[Answer]:
        """The entries that fit best. No answer is an empty list."""
        words = [w for w in dict.fromkeys(words_of(question)) if w not in SMALL_WORDS]
        if not words:
            return []
        rows = self._db.execute(
            "SELECT rowid, bm25(entry, 5, 7, 4, 1), length, module, name, kind, signature, summary "
            "FROM entry WHERE entry MATCH ? ORDER BY 2 LIMIT 300",
            (" OR ".join(f'"{word}"' for word in words),),
        ).fetchall()
        # bm25 counts rare words; people mean the others, too. So it also matters how much of the
        # question an entry has in its name or first paragraph, and how much of its name is asked.
        covered, named = self._hits("title place summary", words), self._hits("title", words)

        def rank(row: tuple[Any, ...]) -> float:
            rowid, score, length, module, name, kind, *_ = row
            coverage = covered[rowid] / len(words)
            return float(
                score
                * (0.2 + coverage)
                * (1 + min(1, named[rowid] / length))
                * _weight(module, name, kind)
            )

        answers: dict[str, Answer] = {}
        for _, _, _, module, name, kind, signature, summary in sorted(rows, key=rank):
            full = f"{module}.{name}" if name and module != "builtins" else name or module
            answers.setdefault(summary, Answer(full, kind, signature, summary))
        return list(answers.values())[:limit]

    def _hits(self, columns: str, words: list[str]) -> Counter[int]:
        """How many of the words each entry has in those columns."""
        found: Counter[int] = Counter()
        for word in words:
            match = f'{{{columns}}}:"{word}"'
            rows = self._db.execute("SELECT rowid FROM entry WHERE entry MATCH ?", (match,))
            found.update(rowid for (rowid,) in rows)
        return found

    def texts(self) -> list[tuple[str, str]]:
        """What there is to learn from: `(module, text)` of all that is public."""
        rows = self._db.execute(
            "SELECT module, place || ' ' || title || ' ' || summary FROM entry "
            "WHERE module NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE '\\_%' ESCAPE '\\'"
        )
        return rows.fetchall()

    def stats(self) -> dict[str, Any]:
        return {
            "entries": self._entries,
            "modules": self._modules,
            "seconds": self._seconds,
            "pid": os.getpid(),
        }


def _parts(word: str, known: set[str]) -> list[str]:
    for cut in range(3, len(word) - 2):
        if word[:cut] in known and word[cut:] in known:
            return [word[:cut], word[cut:]]
    if word.endswith("er"):
        return [verb for verb in (word[:-1], word[:-2]) if verb in known][:1]
    return []


def _weight(module: str, name: str, kind: str) -> float:
    """What is probably meant: what is public, short to write, and can be called."""
    weight = 0.95 ** f"{module}.{name}".count(".")
    if any(part.startswith("_") for part in f"{module}.{name}".split(".")):
        weight *= 0.4
    if module.startswith(("distutils", "encodings", "tkinter")):  # gone, or a world of its own
        weight *= 0.6
    if name.endswith(("Error", "Exception", "Warning")) or kind == "method":
        weight *= 0.6
    return weight


class Advisor(agentd.Agent):
    """Which module is a question about? A naive Bayes classifier that keeps on learning.

    Its state is the point: counters, and a function made on the spot. Pickle knows no such
    functions; they travel all the same.
    """

    def __init__(self, log: Path, ignore: frozenset[str] = SMALL_WORDS) -> None:
        note_init(log, self)
        self.seen: Counter[str] = Counter()
        self.words: defaultdict[str, Counter[str]] = defaultdict(Counter)
        endings = re.compile(r"(ies|ing|es|ed|s|e|y)$")
        self.relevant: Callable[[str], list[str]] = lambda text: [
            endings.sub("", word) for word in words_of(text) if word not in ignore
        ]

    def learn(self, text: str, module: str) -> None:
        self.seen[module] += 1
        self.words[module].update(self.relevant(text))

    def guess(self, question: str, limit: int = 3) -> list[tuple[str, float]]:
        """The likeliest modules, each with its probability."""
        words = self.relevant(question)
        vocabulary = len(set().union(*self.words.values()))
        scores = {
            module: math.log(self.seen[module]) / 4  # a big module is a bit likelier, not much
            + sum(
                math.log((counts[word] + 0.1) / (counts.total() + 0.1 * vocabulary))
                for word in words
            )
            for module, counts in self.words.items()
        }
        best = max(scores.values())
        total = sum(math.exp(score - best) for score in scores.values())
        likeliest = sorted(scores, key=scores.__getitem__, reverse=True)[:limit]
        return [(module, math.exp(scores[module] - best) / total) for module in likeliest]

    def known(self) -> int:
        """How many texts it has learned from."""
        return self.seen.total()

    def pid(self) -> int:
        return os.getpid()


# -- the story ------------------------------------------------------------------------------------


class Story:
    """Hosts the agents, asks them, and tells what happened. All of this runs in the client."""

    def __init__(self, log: Path, questions: Sequence[str]) -> None:
        self.log = log
        self.questions = questions
        self.console = Console(highlight=False)
        self.times: dict[str, list[str]] = {}  # by agent: call returned, ready, first answer
        self.began = time.monotonic()

    def tell(self) -> None:
        with ExitStack() as stack:
            client = stack.enter_context(agentd.connect())
            self.show_daemon(client.info())
            progress = Progress(self.log, to_dist=True)
            stack.enter_context(agentd.handle(progress))  # deletes the agent at the end
            librarian = self.start_librarian(progress)
            stack.enter_context(agentd.handle(librarian))
            self.ask(librarian)
            advisor = self.train_advisor(librarian.texts())
            hosted = self.move_advisor(advisor)
            stack.enter_context(agentd.handle(hosted))
            self.teach(hosted, advisor)
            self.show_runs()
        self.show_next()

    def show_daemon(self, info: dict[str, Any]) -> None:
        took = time.monotonic() - self.began
        ours = info["uptime_s"] < took + 0.1
        whose = f"started for this program in {ms(took)}" if ours else "running already"
        pids = ", ".join(str(worker["pid"]) for worker in info["workers"] if worker["pid"])
        self.say(
            f"This program is process {os.getpid()}. The daemon is process {info['pid']}, {whose}; "
            f"its workers so far: {pids or 'none yet'}."
        )

    def start_librarian(self, progress: Progress) -> Librarian:
        self.head("1. Built where it will live:  Librarian(log, progress, to_dist=True)")
        start = time.monotonic()
        librarian = Librarian(self.log, progress, to_dist=True)
        returned = time.monotonic() - start
        self.say(
            f"The call returned after {ms(returned)}, and nothing of the class ran here. In a "
            "worker, __init__ is now reading the standard library; it tells how far it is to "
            "another agent, which it was given as an argument."
        )
        self.watch(agentd.handle(librarian), progress)
        ready = time.monotonic() - start
        stats = librarian.stats()
        self.say(
            f"Ready after {ready:.1f} s: {stats['entries']:,} entries from {stats['modules']} "
            f"modules, in worker {stats['pid']}."
        )
        start = time.monotonic()
        librarian.ask(self.questions[0])
        self.times["Librarian"] = [ms(returned), ms(ready), ms(time.monotonic() - start)]
        return librarian

    def watch(self, handle: agentd.AgentHandle, progress: Progress) -> None:
        """Draw how far it is until it is ready; raises if its `__init__` failed."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.description}")
            with Bar(*columns, console=self.console, transient=True) as bar:
                task = bar.add_task("")
                while not is_ready(handle):
                    done, total, what = progress.read()
                    bar.update(task, completed=done, total=total, description=what)
        else:
            told = 0
            while not is_ready(handle):
                done, total, what = progress.read()
                if 4 * done // total > told:
                    told = 4 * done // total
                    self.say(f"  {100 * done // total:3} %  {what}")

    def ask(self, librarian: Librarian) -> None:
        for question in self.questions:
            self.say(f"\n  {escape(question)}", style="bold")
            answers = librarian.ask(question)
            for answer in answers:
                title = Text(f"    {answer.name}", "green").append(short(answer.signature), "dim")
                for line in (title, Text(f"      {answer.summary}")):
                    self.console.print(line, no_wrap=True, overflow="ellipsis")
            if not answers:
                self.say("    Nothing in the documentation of the standard library.")

    def train_advisor(self, texts: list[tuple[str, str]]) -> Advisor:
        self.head("2. Trained here, then moved:  advisor.to_dist()")
        start = time.monotonic()
        advisor = Advisor(self.log)
        for module, text in texts:
            advisor.learn(text, module)
        self.say(
            f"An advisor that guesses which module a question is about. It learned that here, in "
            f"process {advisor.pid()}, from {advisor.known():,} texts which the librarian handed "
            f"over, in {ms(time.monotonic() - start)}."
        )
        return advisor

    def move_advisor(self, advisor: Advisor) -> Advisor:
        before = advisor.guess(self.questions[0])
        start = time.monotonic()
        hosted = advisor.to_dist()
        returned = time.monotonic() - start
        agentd.handle(hosted).wait()
        ready = time.monotonic() - start
        start = time.monotonic()
        after = hosted.guess(self.questions[0])
        self.times["Advisor"] = [ms(returned), ms(ready), ms(time.monotonic() - start)]
        if before != after:
            raise RuntimeError(f"the advisor said {before} here and {after} in the daemon")
        self.say(
            f"Moved, counters, lambda and all, in {ms(ready)}: it is in worker {hosted.pid()} now "
            "and gives the same answers."
        )
        for question in self.questions:
            self.say(f"    {escape(question)}  [green]{guesses(hosted, question)}[/]")
        return hosted

    def teach(self, hosted: Advisor, advisor: Advisor) -> None:
        question = "which tool finds out where my program spends its time"
        before = guesses(hosted, question)
        for _ in range(3):
            hosted.learn(question, "cProfile")
        self.say(
            f"It goes on learning there. {question.capitalize()}? It said: {before}. Told three "
            f"times, it says: {guesses(hosted, question)}. It knows {hosted.known():,} texts now; "
            f"the object that stayed here, a copy since the move, knows {advisor.known():,}."
        )

    def show_runs(self) -> None:
        self.head("3. Who ran __init__, and how long things took")
        runs: defaultdict[str, list[str]] = defaultdict(list)
        for line in self.log.read_text().splitlines():
            name, pid = line.split()
            runs[name].append(f"here, in {pid}" if int(pid) == os.getpid() else f"in worker {pid}")
        for name, places in runs.items():
            if len(places) != 1:
                raise RuntimeError(f"__init__ of {name} ran {len(places)} times: {places}")
        both = "Librarian", "Advisor"
        table = Table("", *both, box=None, pad_edge=False)
        table.add_row("path", "to_dist=True", ".to_dist()")
        table.add_row("__init__ ran", *(f"once, {runs[name][0]}" for name in both))
        rows = "call returned after", "ready after", "first answer took"
        for title, *times in zip(rows, *(self.times[name] for name in both), strict=True):
            table.add_row(title, *times)
        self.console.print(table)

    def show_next(self) -> None:
        self.say(f"\nAll in all {time.monotonic() - self.began:.1f} s. The agents are gone again.")
        self.head("What to try next")
        self.say('  python examples/librarian.py "how do I shuffle a list?"')
        self.say("  python examples/two_paths.py    when to use which path")
        self.say("  agentd serve                    in another terminal: agents outlive programs")
        self.say("  agentctl agents                 who is hosted there")

    def head(self, text: str) -> None:
        self.console.print(f"\n{text}", style="bold cyan", markup=False)

    def say(self, text: str, *, style: str | None = None) -> None:
        self.console.print(text, style=style)


def is_ready(handle: agentd.AgentHandle) -> bool:
    try:
        handle.wait(timeout=0.1)
    except agentd.errors.CallTimeout:
        return False
    return True


def guesses(advisor: Advisor, question: str) -> str:
    likely = [(module, share) for module, share in advisor.guess(question) if share >= 0.05]
    return ", ".join(f"{module} {share:.0%}" for module, share in likely) or "no idea"


def ms(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def short(signature: str, limit: int = 60) -> str:
    signature = re.sub(r"^\((self|cls)(, |\b)", "(", " ".join(signature.split()))
    return signature if len(signature) <= limit else signature[: limit - 1] + "…"


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal loses a character, no more
    with tempfile.TemporaryDirectory() as folder:
        try:
            Story(Path(folder, "inits"), sys.argv[1:] or QUESTIONS).tell()
        except (agentd.errors.AgentdError, RuntimeError) as error:
            print(f"librarian: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("librarian: interrupted", file=sys.stderr)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
