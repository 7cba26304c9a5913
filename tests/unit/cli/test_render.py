"""Text for people, compared with files; ``UPDATE_GOLDEN=1`` writes them anew."""

import os
import re
from pathlib import Path

import pytest

from agentd_cli import render
from tests.unit.cli.fakes import EVIL, INFO, TALLY

GOLDEN = Path(__file__).parent / "golden"
NOW = TALLY["created_at"] + 200_000
INSPECTED = EVIL | {
    "methods": {"add": {}, "ask": {"async": True}},
    "options": {"lifetime": "daemon", "get_if_exists": False},
    "last_error": "ValueError: first line\nsecond \x1b[2J line",
    "children": ["a" * 32, {"id": "b" * 32}],
    "nothing": [],
    "isolated": False,
}


FIGURES = {
    "limits": {"max_message_bytes": 512 << 20, "client_calls": 16_384, "handshake_s": 2.0},
    "counters": {"connections": 3, "memory_bytes": 43_650_000, "refused_client_calls": 0},
}


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """One that knows colours, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def golden(name, text):
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8") == text + "\n"


VIEWS = {
    "agents": lambda styled: render.agents([TALLY, EVIL], now=NOW, styled=styled),
    "status": lambda styled: render.status(INFO, styled=styled),
    "status-no-workers": lambda styled: render.status(INFO | {"workers": []}, styled=styled),
    "status-limits": lambda styled: render.status(INFO | FIGURES, styled=styled),
    "inspect": lambda styled: render.record(INSPECTED, styled=styled),
}


@pytest.mark.parametrize("view", VIEWS)
def test_plain(view):
    assert golden(view, VIEWS[view](False)), VIEWS[view](False)


@pytest.mark.parametrize("view", VIEWS)
def test_styled_says_the_same(view):
    styled = VIEWS[view](True)
    assert "\x1b[" in styled
    bare = re.sub(r"\x1b\[[0-9;]*m", "", styled).replace("─", "")
    assert bare.split() == VIEWS[view](False).split()


@pytest.mark.parametrize("styled", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_of_an_agent_reaches_the_terminal_raw(view, styled):
    text = re.sub(r"\x1b\[[0-9;]*m", "", VIEWS[view](styled)).replace("\n", "")
    assert text.isprintable()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_memory_bytes", 2 << 30, "2 GiB"),
        ("open_bytes", 1536, "1.5 KiB"),
        ("open_bytes", 0, "0 B"),
        ("refused_client_bytes", 2048, "2,048"),
        ("handshake_s", 0.5, "0.5 s"),
        ("connections", 4096, "4,096"),
        ("odd", "\x1b[2J", "\\x1b[2J"),
        ("odd", None, "-"),
    ],
)
def test_figures_have_their_unit(name, value, text):
    assert render.amount(name, value) == text


def test_a_narrow_terminal_cuts_nothing_off(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert TALLY["id"] in render.agents([TALLY], now=NOW, styled=True)


def test_markup_in_a_name_is_text():
    assert "[bold]x[/bold]" in render.table(["NAME"], [["[bold]x[/bold]"]], styled=True)


def test_wide_characters_keep_the_columns():
    first, second = render.table(["A", "B"], [["数", "x"]]).splitlines()
    assert (first, second) == ("A   B", "数  x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.4, "0s"),
        (59, "59s"),
        (60, "1m 0s"),
        (3_723, "1h 2m"),
        (200_000, "2d 7h"),
        (86_400, "1d 0h"),
    ],
)
def test_durations(seconds, text):
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("hello", '"hello"'),
        (5, "5"),
        ((1, 2), "[\n  1,\n  2\n]"),
        (float("nan"), "nan"),
        (b"x", "b'x'"),
        ({1: 2}, "{1: 2}"),
        ([object], "[<class 'object'>]"),
    ],
)
def test_results(value, text):
    assert render.result(value) == text


def test_a_repr_keeps_its_lines_but_no_escape_sequences():
    class Matrix:
        def __repr__(self):
            return "1 2\n3 \x1b[31m4"

    assert render.result(Matrix()) == "1 2\n3 \\x1b[31m4"
