import pytest

from benchmarks.child import Outcome
from benchmarks.table import lines, markdown, met, span


def line_of(results, what):
    [found] = [line for line in lines(results) if line.what == what]
    return found


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([16352.4], 0, "16,352"),
        ([0.2, 0.4, 0.3], 2, "0.30 (0.20..0.40)"),
        ([None, 1.0], 0, "1"),
        ([None], 0, "-"),
        ([], 0, "-"),
    ],
)
def test_figures_read_as_people_write_them(values, digits, text):
    assert span(values, digits) == text


def test_a_line_has_figure_floor_ratio_goals_and_whether_they_are_met(results, add):
    for number, (mine, floor) in enumerate([(110, 100), (240, 200), (130, 100)]):
        add("call", "agentd", number, p50_us=mine, p99_us=mine, cpu_us=1)
        add("call", "rpc", number, p50_us=floor, p99_us=floor, cpu_us=1)
    line = line_of(results, "blocking call, p50")
    assert line.mine == "130 (110..240)"
    assert line.floor == "100 (100..200)"
    assert line.ratio == "1.20 (1.10..1.30)"
    assert line.goal == "≤ 1.25 × floor; ≤ 219 (Pyro5)"
    assert line.met == "yes; yes"
    assert met(results) == (3, 3)


def test_a_goal_that_is_missed_is_loud(results, add):
    add("naps", "agentd", 0, wall_s=0.5)
    assert line_of(results, "1,000 calls that sleep 0.2 s").met == "NO"
    assert met(results) == (0, 1)


def test_what_is_not_there_yet_says_so_and_is_not_judged(results, add):
    add("curve", "agentd", 0, Outcome({}, missing="not available yet: TCP"))
    line = line_of(results, "calls over CURVE TCP")
    assert (line.mine, line.met) == ("not available yet: TCP", "-")
    assert met(results) == (0, 0)


def test_what_failed_says_so(results, add):
    add("naps", "agentd", 0, Outcome({}, error="ValueError: no"))
    assert line_of(results, "1,000 calls that sleep 0.2 s").mine == "failed"


def test_the_cold_start_has_both_floors(results, add):
    for who, seconds in (("agentd", 0.4), ("rpc", 0.2), ("broker", 0.3)):
        add("cold", who, 0, first_s=seconds, exit_s=0.0)
    assert line_of(results, "cold start to the first result").floor == "0.200; broker 0.300"


def test_only_rows_that_were_run_are_shown(results, add):
    assert list(lines(results)) == []


def test_markdown_survives_what_is_in_a_cell():
    assert markdown(("a", "b"), [("x|y", "z")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | z |",
    ]
