"""The tables of the documentation."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def diagram(title):
    """``| state | event | next |`` under a headline; a cell may name several events."""
    text = PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_, ]+) \| ([A-Z_]+) \|$", text, re.MULTILINE)
    return {
        (state, event): following
        for state, events, following in rows
        for event in events.split(", ")
    }
