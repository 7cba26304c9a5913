"""The benchmarks run, all of them, with tiny counts. How fast is none of a test's business."""

import json
import math
import subprocess
import sys

import pytest

from benchmarks.rows import ROWS
from tests.acceptance.harness import ROOT


@pytest.mark.slow
def test_every_row_runs(tmp_path):
    out = tmp_path / "run.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "run", "--quick", "--passes", "1", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["rows"]
    assert list(found) == list(ROWS)
    for name, row in ROWS.items():
        if found[name]["missing"]:
            continue
        figures = found[name]["figures"]
        assert set(figures) == {metric.name for metric in row.metrics}
        for series in figures.values():
            assert set(series) == set(row.contestants)
            assert all(len(v) == 1 and math.isfinite(v[0]) for v in series.values())
    assert [name for name in found if found[name]["missing"]] == []
    for row in ROWS.values():
        for metric in row.metrics:
            assert metric.title in done.stdout


def test_a_row_that_is_not_there_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "run", "--rows", "cal"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "bench: there is no row 'cal'; did you mean call?\n"
    assert done.stdout == ""
