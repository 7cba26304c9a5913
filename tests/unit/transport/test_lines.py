"""Each has its turn, and its own in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.protocol import pack
from agentd.protocol.messages import (
    Drained,
    Drop,
    Dropped,
    Ping,
    Pong,
    Start,
    Started,
    StartFailed,
)
from agentd.transport.lines import OWN, Lines, by_route


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


def between(route, message):
    return [route, *pack(message)]


def test_signs_of_life_and_beginnings_have_a_line_of_their_own_in_order():
    """They neither wait for all that was relayed, nor does what comes after them."""
    agent = bytes(16)
    start = Start(agent, 1, "m:C", "spec", "data", name="x", plain=True, by="key:y", maker="key:y")
    failed = StartFailed(agent, 1, "no")
    for message in (Ping(1, 2.0), Pong(1, 2.0), start, Started(agent, 1, 7), failed):
        assert by_route(between(b"", message)) == OWN
    for message in (Drop(agent, 1, "asked"), Dropped(agent, 1), Drained()):
        assert by_route(between(b"", message)) is None
    assert by_route(between(b"\x00\x01", Ping(1))) == b"\x00\x01"


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
