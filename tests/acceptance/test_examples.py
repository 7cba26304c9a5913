"""The examples run, end by themselves, and show what they promise."""

import re
import sys
import time

import pytest

from tests.acceptance.harness import ROOT, environment, processes_of, run

EXAMPLES = ROOT / "examples"
SLACK_S = 10.0
"""What a busy machine may add to a time that is shown."""


def number_after(label, text):
    """``number_after("The client", text)``: the first number on the line that begins so."""
    return float(re.search(rf"^{label} +([\d.,]+) ", text, re.MULTILINE)[1].replace(",", ""))


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
    imported = {"stdlib_docs"}
    assert {file.stem for file in EXAMPLES.glob("*.py")} - imported == {
        *("counter", "two_paths", "agents_calling_agents", "librarian"),
        *("chain", "parallel_search", "token_stream"),
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


def test_chain(example):
    text = example("chain")
    # Five steps in a row, one after the other.
    steps = re.findall(r"^  (\w+) +(█+) +([\d.]+) s in process (\d+): (.+)$", text, re.MULTILINE)
    names = ["Researcher", "Outliner", "Writer", "Reviewer", "Editor"]
    assert [name for name, *_ in steps] == names
    starts = [line.index("█") for line in text.splitlines() if "█" in line]
    assert starts == sorted(set(starts))
    # As long as the work, and no longer; the client neither works nor sees what is between.
    work = sum(float(seconds) for _, _, seconds, *_ in steps)
    assert work > 2.19, "the pauses alone are 2.2 s"
    assert abs(number_after("Their work", text) - work) < 0.05
    assert work - 0.05 <= number_after("All of it", text) < work + SLACK_S
    assert number_after("The client", text) / 1000 < work / 2
    client = re.search(r"This is process (\d+)\.", text)[1]
    unpacked = re.findall(r"\d+", re.search(r"in this order:\n(.*)", text)[1])
    assert unpacked == [*(pid for _, _, _, pid, _ in steps), client]
    assert unpacked.count(client) == 1
    # And it is about something.
    article = re.findall(r"^  (\w+): (.+)$", text.partition("between.\n")[2], re.MULTILINE)
    assert dict(article)["wrap"].startswith("Wrap a single paragraph of text")
    assert len(article) == 6
    assert max(len(f"{name}: {line}") for name, line in article) <= 90


def test_chain_fails_where_its_first_step_fails(run_dir):
    env = environment(run_dir)
    done = run(sys.executable, EXAMPLES / "chain.py", "nothing", env=env)
    assert (done.code, done.out) == (1, "")
    assert done.err == "chain: nothing is no module of the standard library\n"
    assert processes_of(run_dir) == {}


def test_parallel_search(example):
    text = example("parallel_search", "TemporyDirectory", "asynchronus_itterator", "qqqqqqqqqq")
    told = re.findall(r"^  ([\d.]+) s  agent (\d)$", text, re.MULTILINE)
    assert sorted(agent for _, agent in told) == list("01234")
    times = [float(seconds) for seconds, _ in told]
    assert times == sorted(times)
    rows = re.findall(r"^(\d) +([\d,]+) +([\d.]+) s +([\d.]+) s$", text, re.MULTILINE)
    assert [row[0] for row in rows] == list("01234")
    assert all(int(words.replace(",", "")) > 1_000 for _, words, *_ in rows)
    # Side by side as long as the slowest, then as long as all of them.
    slowest = max(float(row[2]) for row in rows)
    assert slowest <= number_after("Side by side", text) < slowest + SLACK_S
    alone = sum(float(row[3]) for row in rows)
    assert alone - 0.05 <= number_after("One after the other", text) < alone + SLACK_S
    assert "The same was found both times: True\n" in text
    assert re.search(r"^  TemporyDirectory +TemporaryDirectory  94%  tempfile.py:\d+$", text, re.M)
    assert re.search(r"^  asynchronus_itterator +AsyncIterator  76%  .*\.py:\d+$", text, re.M)
    assert re.search(r"^  qqqqqqqqqq +nothing$", text, re.MULTILINE)


def test_token_stream(example):
    text = example("token_stream")
    _, *parts = re.split(r"^\d\. .*\n", text, flags=re.MULTILINE)
    by_for, by_async_for, by_agentctl, early = (part.splitlines() for part in parts)
    assert by_for[0].startswith("The iterator ")
    assert len(by_for[0].split()) == 2 + 24
    first, last = re.fullmatch(
        r"25 tokens; the first came after ([\d.]+) s, the last after ([\d.]+) s\.", by_for[1]
    ).groups()
    # Each word took 0.03 s: none of them waited for the others.
    assert float(last) - float(first) >= 12 * 0.03
    dots, one, other, took, *_ = by_async_for
    assert dots == "." * 50
    assert one != other
    assert all(line.startswith("A class ") and len(line.split()) == 26 for line in (one, other))
    assert 24 * 0.03 <= float(re.search(r"Both took ([\d.]+) s", took)[1]) < SLACK_S
    assert re.match(r"\$ agentctl --endpoint \S+ call [0-9a-f]{8} write 'An ex", by_agentctl[0])
    assert by_agentctl[1].startswith("An exception ")
    assert len(by_agentctl[1].split()) == 26
    assert early[0].removesuffix(" …") == " ".join(by_agentctl[1].split()[:10]), "the same seed"
    made = re.fullmatch(r"It made ([\d,]+) of 10,000 words; its finally has run: True\.", early[1])
    assert 8 <= int(made[1].replace(",", "")) <= 8 + 64 + 1
