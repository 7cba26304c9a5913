import pytest

from benchmarks.goals import at_least, at_most, judge

FIGURES = {"agentd": [10.0, 12.0, 14.0], "rpc": [10.0, 10.0, 10.0]}


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (at_most(12), True),
        (at_most(11.9), False),
        (at_least(12), True),
        (at_least(12.1), False),
        (at_most(1.2, of="rpc"), True),
        (at_most(1.1, of="rpc"), False),
        (at_least(1.2, of="rpc"), True),
    ],
)
def test_the_median_decides(goal, met):
    assert judge(goal, FIGURES, "agentd").met is met


def test_a_ratio_is_judged_pass_by_pass():
    figures = {"agentd": [10.0, 100.0], "rpc": [10.0, 100.0]}
    verdict = judge(at_most(1.0, of="rpc"), figures, "agentd")
    assert verdict.met
    assert (verdict.seen.low, verdict.seen.high) == (1.0, 1.0)


@pytest.mark.parametrize("figures", [{}, {"agentd": [None]}, {"rpc": [1.0]}])
def test_what_was_not_measured_is_not_judged(figures):
    assert judge(at_most(1), figures, "agentd").met is None


def test_a_ratio_without_the_other_side_is_not_judged():
    assert judge(at_most(1, of="rpc"), {"agentd": [1.0]}, "agentd").met is None


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (at_most(219, "Pyro5"), "≤ 219 (Pyro5)"),
        (at_least(24_528), "≥ 24,528"),
        (at_most(1.25, of="rpc"), "≤ 1.25 × floor"),
    ],
)
def test_goals_read_as_people_write_them(goal, text):
    assert str(goal) == text
