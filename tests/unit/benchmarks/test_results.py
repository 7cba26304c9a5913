import json

import pytest

from benchmarks.child import Outcome
from benchmarks.results import Results


def test_each_pass_has_its_place(results, add):
    add("call", "agentd", 0, p50_us=1.0, p99_us=2.0)
    add("call", "agentd", 2, p50_us=3.0, p99_us=4.0)
    assert results.row("call").figures["p50_us"]["agentd"] == [1.0, None, 3.0]


def test_a_failure_leaves_a_gap_and_a_word(results, add):
    add("call", "agentd", 0, Outcome({}, error="not done within 60 s"))
    add("call", "agentd", 1, p50_us=3.0, p99_us=4.0)
    assert results.row("call").figures["p50_us"]["agentd"] == [None, 3.0]
    assert results.row("call").errors == ["agentd, pass 1: not done within 60 s"]


def test_what_is_left_running_adds_up(results, add):
    add("call", "agentd", 0, Outcome({}, left_running=2))
    add("call", "rpc", 0, Outcome({}, left_running=1))
    assert results.row("call").left_running == 3


def test_a_file_gives_back_what_was_written(results, add, tmp_path):
    add("call", "agentd", 0, p50_us=1.0, p99_us=2.0)
    file = tmp_path / "new" / "run.json"
    results.write(file)
    assert Results.read(file) == results


def test_a_file_of_another_format_is_refused(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"format": 0}))
    with pytest.raises(ValueError, match="format 1"):
        Results.read(file)
