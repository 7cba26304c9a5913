import pytest

from benchmarks.compare import change, comparison
from benchmarks.rows.row import less, more

LATENCY = less("p50_us", "p50", "µs")
RATE = more("calls_per_s", "calls", "/s")


@pytest.mark.parametrize(
    ("metric", "factor", "word"),
    [
        (LATENCY, 0.9, "better"),
        (LATENCY, 1.1, "worse"),
        (RATE, 0.9, "worse"),
        (RATE, 1.1, "better"),
    ],
)
def test_a_change_that_every_pass_shows_is_one(metric, factor, word):
    base = [100.0, 120.0, 90.0, 300.0, 100.0]
    found = change(metric, base, [value * factor for value in base])
    assert found.word == word
    assert found.ratio.median == pytest.approx(factor)


def test_one_pass_that_disagrees_makes_it_noise():
    assert change(LATENCY, [100.0] * 5, [90.0, 90.0, 90.0, 90.0, 101.0]).word == "within noise"


def test_few_passes_prove_little():
    assert change(LATENCY, [100.0] * 4, [90.0] * 4).word == "better?"


def test_equal_counts_are_the_same():
    assert change(LATENCY, [1.0, 1.0], [1.0, 1.0]).word == "same"


def test_what_one_side_lacks_is_not_compared():
    assert change(LATENCY, [None], [1.0]).word == "-"
    assert change(LATENCY, [], []).ratio is None


def test_the_table_has_a_line_a_metric(results, add):
    for number in range(5):
        add("call", "base", number, p50_us=200, p99_us=400)
        add("call", "agentd", number, p50_us=100, p99_us=400)
    assert list(comparison(results))[:2] == [
        (
            "blocking call, p50",
            "µs",
            "200 (200..200)",
            "100 (100..100)",
            "0.50 (0.50..0.50)",
            "better",
        ),
        (
            "blocking call, p99",
            "µs",
            "400 (400..400)",
            "400 (400..400)",
            "1.00 (1.00..1.00)",
            "same",
        ),
    ]
