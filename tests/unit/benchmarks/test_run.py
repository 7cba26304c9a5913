from benchmarks.rows import ROWS
from benchmarks.run import Runner, turns

AGENTD, FLOOR = Runner("agentd", "agentd", "agentd"), Runner("rpc", "rpc", "floor")


def order(rows, passes):
    found = turns([ROWS[name] for name in rows], [AGENTD, FLOOR], passes)
    return [(turn.number, turn.row.name, turn.runner.label) for turn in found]


def test_contestants_take_turns_and_change_sides():
    assert order(["call"], 3) == [
        (0, "call", "agentd"),
        (0, "call", "rpc"),
        (1, "call", "rpc"),
        (1, "call", "agentd"),
        (2, "call", "agentd"),
        (2, "call", "rpc"),
    ]


def test_a_pass_goes_through_all_rows():
    assert [row for _, row, _ in order(["call", "pipelined"], 2)] == [
        *("call", "call", "pipelined", "pipelined"),
        *("call", "call", "pipelined", "pipelined"),
    ]


def test_some_rows_need_one_pass():
    assert {number for number, _, _ in order(["memory"], 3)} == {0}


def test_only_those_take_part_who_can():
    assert {label for _, _, label in order(["aio"], 2)} == {"agentd"}


def test_two_revisions_of_one_contestant_take_turns():
    base = Runner("base", "agentd", "main", "python")
    found = [turn.runner.label for turn in turns([ROWS["aio"]], [base, AGENTD], 2)]
    assert found == ["base", "agentd", "agentd", "base"]
