"""The examples run, end by themselves, and show what they promise."""

import re
import sys
import time

import pytest

from tests.acceptance.harness import ROOT, environment, processes_of, run

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(run_dir):
    """``example("counter")`` gives what it printed; nothing of it is left."""

    def run_one(name, *args):
        done = run(sys.executable, EXAMPLES / f"{name}.py", *args, env=environment(run_dir))
        assert done.code == 0, done.err
        assert done.err == ""
        assert processes_of(run_dir) == {}
        return done.out

    return run_one


def test_all_examples_are_tested():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {
        *("counter", "two_paths", "agents_calling_agents", "librarian")
    }


def test_counter(example):
    assert example("counter") == "6\n"


def test_two_paths(example):
    text = example("two_paths")
    assert "self.db cannot travel: sqlite3.Connection." in text
    assert "its state went along: 'set before the move'" in text
    assert text.count("[78498, 78498, 78498, 78498]") == 1
    client = re.search(r"This is process (\d+)\.", text)[1]
    there = re.findall(r"\d+", re.search(r"  to_dist=True: (.*)", text)[1])
    here = re.findall(r"\d+", re.search(r"  \.to_dist\(\): (.*)", text)[1])
    assert len(there) == 4  # once for each
    assert client not in there
    assert here == [client]


def test_agents_calling_agents(example):
    text = example("agents_calling_agents")
    assert "The florist sells for 20, the ledger has 23." in text
    assert "isinstance(baker, Shop): True" in text
    assert "is the same agent: True" in text


def test_librarian(example):
    began = time.monotonic()
    text = example("librarian")
    assert time.monotonic() - began < 45  # "well under a minute"

    # What ran where.
    client, daemon = re.search(r"is process (\d+)\. The daemon is process (\d+)", text).groups()
    rows = {
        match[1].strip(): re.split(r" {2,}", match[2].strip())
        for match in re.finditer(r"^(path|__init__ ran) {2,}(.*)$", text, re.MULTILINE)
    }
    assert rows["path"] == ["to_dist=True", ".to_dist()"]
    librarian, advisor = rows["__init__ ran"]
    worker = re.fullmatch(r"once, in worker (\d+)", librarian)[1]
    assert advisor == f"once, here, in {client}"
    assert len({client, daemon, worker}) == 3

    # The answers are real.
    for question, answer in (
        ("How do I read a CSV file?", "csv.reader("),
        ("copy a file", "shutil.copy"),
        ("run a subprocess and capture its output", "subprocess.run("),
        ("parse command line arguments", "argparse.ArgumentParser("),
        ("create a temporary directory", "tempfile.TemporaryDirectory("),
    ):
        answers = text.partition(f"\n  {question}\n")[2].partition("\n\n")[0]
        assert answer in answers

    # It is told how far it is, how long it took, and what moved.
    assert re.search(r"^ +\d+ %  [\w.]+$", text, re.MULTILINE)
    assert re.search(r"Ready after \d+\.\d s: [\d,]{5,} entries", text)
    flat = " ".join(text.split())
    assert "gives the same answers" in flat
    learned = re.search(r"It knows ([\d,]+) texts now.*knows ([\d,]+)\.", flat).groups()
    now, before = (int(count.replace(",", "")) for count in learned)
    assert now == before + 3


def test_librarian_answers_questions_of_yours(example):
    text = example("librarian", "how do I shuffle a list?")
    assert "shuffle" in text.partition("\n  how do I shuffle a list?\n")[2].partition("\n\n")[0]
