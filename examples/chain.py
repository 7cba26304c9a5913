"""Five agents in a row: each works on what the one before it made, and the client sleeps.

    python examples/chain.py               # they write about textwrap
    python examples/chain.py heapq         # or about a module of yours

    paper = researcher.work.submit(paper)  # an AsyncResult, at once
    paper = outliner.work.submit(paper)    # handed on un-fetched: a reference travels, no value

Each step is done for real, on the documentation of a module of the standard library. The thinking
that a language model would do meanwhile is not: that is modelled by a pause.
"""

from __future__ import annotations

import importlib
import inspect
import io
import os
import sys
import textwrap
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

import agentd

WIDTH = 40  # of the chart


class Step(NamedTuple):
    """Who did what, where and when; the clock is the same for all processes of a host."""

    who: str
    what: str
    pid: int
    began: float
    ended: float


class Paper:
    """What is handed on. It notes where it was unpacked, which shows who has seen it."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.docs: dict[str, str] = {}
        self.lines: list[str] = []
        self.remarks: list[str] = []
        self.steps: list[Step] = []
        self.unpacked_in: list[int] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.unpacked_in = [*self.unpacked_in, os.getpid()]


# -- the agents -----------------------------------------------------------------------------------


class Colleague(agentd.Agent):
    """Takes a paper, does its own part of the work, and gives it back."""

    def __init__(self, pause: float) -> None:
        self.pause = pause

    def work(self, paper: Paper) -> Paper:
        began = time.monotonic()
        what = self.do(paper)
        time.sleep(self.pause)  # here a language model would think
        paper.steps.append(Step(type(self).__name__, what, os.getpid(), began, time.monotonic()))
        return paper

    def do(self, paper: Paper) -> str:
        raise NotImplementedError


class Researcher(Colleague):
    """Reads the documentation of all that a module offers."""

    def do(self, paper: Paper) -> str:
        if paper.topic not in sys.stdlib_module_names:
            raise LookupError(f"{paper.topic} is no module of the standard library")
        module = importlib.import_module(paper.topic)
        paper.docs[""] = inspect.getdoc(module) or ""
        for name in getattr(module, "__all__", None) or sorted(vars(module)):
            doc = inspect.getdoc(getattr(module, name, None))
            if callable(getattr(module, name, None)) and doc and not name.startswith("_"):
                paper.docs[name] = doc
        return f"read {sum(map(len, paper.docs.values())):,} characters"


class Outliner(Colleague):
    """Chooses what is worth telling: that of which the documentation tells most."""

    def do(self, paper: Paper) -> str:
        names = sorted(paper.docs, key=lambda name: (name != "", -len(paper.docs[name])))[:6]
        before = len(paper.docs)
        paper.docs = {name: paper.docs[name] for name in names}
        return f"chose {len(names) - 1} of {before - 1} names"


class Writer(Colleague):
    """Writes a line on each, in the words of the documentation's first paragraph."""

    def do(self, paper: Paper) -> str:
        paper.lines = [
            f"{name or paper.topic}: {' '.join(doc.split(chr(10) * 2)[0].split())}"
            for name, doc in paper.docs.items()
        ]
        return f"wrote {sum(len(line.split()) for line in paper.lines)} words"


class Reviewer(Colleague):
    """Finds what is too long."""

    def do(self, paper: Paper) -> str:
        paper.remarks = [line.split(":")[0] for line in paper.lines if len(line) > 90]
        return f"found too long: {len(paper.remarks)}"


class Editor(Colleague):
    """Follows the reviewer."""

    def do(self, paper: Paper) -> str:
        paper.lines = [
            textwrap.shorten(line, 90, placeholder=" …")
            if line.split(":")[0] in paper.remarks
            else line
            for line in paper.lines
        ]
        return f"shortened: {len(paper.remarks)}"


TEAM: tuple[tuple[Any, float], ...] = (  # the classes; Any: they take to_dist, too
    (Researcher, 0.5),
    (Outliner, 0.3),
    (Writer, 0.7),
    (Reviewer, 0.4),
    (Editor, 0.3),
)


# -- the client -----------------------------------------------------------------------------------


def write_about(topic: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(agentd.connect())
        team = [cls(pause, to_dist=True) for cls, pause in TEAM]
        for agent in team:
            handle = stack.enter_context(agentd.handle(agent))  # deletes the agent at the end
            handle.wait(timeout=60)

        began, cpu = time.monotonic(), time.process_time()
        result: Any = Paper(topic)
        for agent in team:
            result = agent.work.submit(result)
        submitted = time.monotonic() - began
        paper: Paper = result.result()  # the only one that is fetched
        took, cpu = time.monotonic() - began, time.process_time() - cpu

    print(f"All five calls were submitted after {submitted * 1000:.0f} ms. Then:\n")
    chart(paper.steps, began)
    work = sum(step.ended - step.began for step in paper.steps)
    print(f"\nTheir work  {work:.2f} s, all in all")
    print(f"All of it   {took:.2f} s, from the first submit to the last result")
    print(f"The client  {cpu * 1000:.0f} ms of CPU time; it slept for the rest")
    print(f"\nThis is process {os.getpid()}. The paper was unpacked in these, in this order:")
    print(f"  {' → '.join(map(str, paper.unpacked_in))}")
    print("So the client saw what the editor returned, and nothing of what was between.\n")
    for line in paper.lines:
        print(f"  {line}")


def chart(steps: list[Step], began: float) -> None:
    """A line each: who, when, and what came of it."""
    scale = WIDTH / (steps[-1].ended - began)
    for step in steps:
        start, end = (round((at - began) * scale) for at in (step.began, step.ended))
        bar = f"{' ' * start}{'█' * max(1, end - start)}".ljust(WIDTH)
        seconds = step.ended - step.began
        print(f"  {step.who:<11}{bar}  {seconds:.2f} s in process {step.pid}: {step.what}")


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal loses a character, no more
    try:
        write_about(sys.argv[1] if len(sys.argv) > 1 else "textwrap")
    except (agentd.errors.AgentdError, LookupError) as error:
        print(f"chain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chain: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
