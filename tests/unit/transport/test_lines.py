"""Each has its turn, and its own in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.transport.lines import Lines


def taken(lines):
    return [lines.take() for _ in range(lines.count)]


def test_one_of_each_is_taken_in_turn():
    lines = Lines()
    for item in ["a1", "a2", "a3", "b1", "c1", "c2"]:
        lines.put(item[0], item)
    assert taken(lines) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_who_comes_later_waits_for_one_of_each():
    lines = Lines()
    for number in range(100):
        lines.put("busy", number)
    assert lines.take() == 0
    lines.put("polite", "please")
    assert [lines.take(), lines.take()] == [1, "please"]


def test_what_is_nobodys_stays_where_it_came():
    lines = Lines()
    for whose, item in [("a", 1), ("a", 2), (None, 3), ("b", 4), ("a", 5), (None, 6), (None, 7)]:
        lines.put(whose, item)
    assert taken(lines) == [1, 2, 3, 4, 5, 6, 7]


def test_there_is_none():
    lines = Lines()
    with pytest.raises(IndexError):
        lines.take()
    assert lines.count == 0


@given(st.lists(st.sampled_from(["a", "b", "c", None, "take"])))
def test_all_are_taken_each_line_in_order_and_nobody_passes_what_is_nobodys(steps):
    lines, put, out = Lines(), [], []
    for number, step in enumerate(steps):
        if step == "take":
            out += [lines.take()] if lines.count else []
        else:
            put.append((step, number))
            lines.put(step, (step, number))
        assert lines.count == len(put) - len(out)
        assert sorted(n for _who, n in lines) == sorted({n for _, n in put} - {n for _, n in out})
    out += taken(lines)
    assert sorted(out, key=lambda each: each[1]) == put
    for whose in ("a", "b", "c"):
        mine = [number for who, number in out if who == whose]
        assert mine == sorted(mine)
    for place, (who, number) in enumerate(out):
        if who is None:
            assert all(before < number for _, before in out[:place])
