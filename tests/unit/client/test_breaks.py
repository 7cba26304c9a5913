"""Breaks of a connection count in quick succession only."""

from agentd.client.breaks import LONG_S, MANY, Breaks, backoff


def test_many_breaks_in_a_moment_are_not_enough(clock):
    breaks = Breaks(clock)
    assert all(breaks.one_more() for _ in range(10 * MANY))


def test_few_breaks_over_long_are_not_enough(clock):
    breaks = Breaks(clock)
    for _ in range(MANY - 1):
        assert breaks.one_more()
        clock.now += LONG_S


def test_many_over_long_are_enough(clock):
    breaks = Breaks(clock)
    found = []
    for _ in range(2 * MANY):
        found.append(breaks.one_more())
        clock.now += 1.0
    assert found.index(False) == MANY - 1


def test_a_connection_that_held_had_healed(clock):
    breaks = Breaks(clock)
    for _ in range(1000):
        assert breaks.one_more()
        assert breaks.number == 1
        clock.now += 2 * LONG_S + 1


def test_the_pauses_grow_to_a_second():
    assert backoff(0) < 0.04
    assert 0.5 <= backoff(1000) <= 1.5
