import pytest

from benchmarks.stats import Summary, paired_ratios, percentile, summarize


def test_a_summary_is_the_median_and_the_whole_range():
    assert summarize([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3.0, 3)
    assert summarize([1.0, 2.0]).median == 1.5


def test_nothing_has_no_summary():
    assert summarize([]) is None


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(q, expected):
    values = list(range(100, 0, -1))
    assert percentile(values, q) == expected


def test_the_percentiles_of_one_value_are_that_value():
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_nothing_has_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_ratios_are_those_of_each_pass():
    # Twice as slow in the second pass, both of them: the ratio does not spread.
    assert paired_ratios([10.0, 20.0], [5.0, 10.0]) == [2.0, 2.0]


def test_passes_that_lack_one_side_do_not_count():
    assert paired_ratios([10.0, None, 30.0], [None, 5.0, 10.0]) == [3.0]
    assert paired_ratios([10.0, 20.0], [5.0]) == [2.0]
    assert paired_ratios([10.0], [0.0]) == []
