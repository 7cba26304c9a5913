import pytest

from benchmarks.contestants import KINDS
from benchmarks.rows import ROWS, UnknownRow, choose
from benchmarks.rows.row import Plan


def test_rows_come_in_the_order_of_the_table():
    assert [row.name for row in choose(["pipelined", "call"])] == ["call", "pipelined"]
    assert choose([]) == list(ROWS.values())


def test_a_row_that_is_not_there_names_the_nearest():
    with pytest.raises(UnknownRow, match="did you mean pipelined"):
        choose(["pipelind"])


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_row_is_complete(row):
    assert row.metrics
    assert "agentd" in row.contestants
    assert set(row.contestants) <= set(KINDS)
    assert len({metric.name for metric in row.metrics}) == len(row.metrics)
    for metric in row.metrics:
        for goal in metric.goals:
            assert not goal.of or goal.of in row.contestants
            assert not goal.of or goal.upper == metric.upper


def test_sizes_follow_the_tier():
    assert [Plan(tier).of(1, 2, 3) for tier in ("quick", "full", "long")] == [1, 2, 3]
    assert Plan("long").of(1, 2) == 2
