"""When what arrives counts as given up."""

import pytest

from agentd.protocol import Lateness, patience


@pytest.fixture
def lateness():
    return Lateness(1.0)


def test_patience_is_of_heartbeats_but_never_short():
    assert patience(1.0) == 1.75
    assert patience(10.0) == 17.5
    assert patience(0.05) == 1.75


def test_what_comes_in_time_is_taken(lateness):
    assert not lateness.is_late("a", 100.0, 100.001)
    assert not lateness.is_late("a", 100.0, 101.6)


def test_what_comes_from_the_future_is_taken(lateness):
    assert not lateness.is_late("a", 100.5, 100.0)


def test_what_its_sender_may_have_given_up_is_late(lateness):
    assert lateness.is_late("a", 100.0, 101.7)


def test_what_has_no_time_is_never_late(lateness):
    assert not lateness.is_late("a", 0.0, 10_000.0)


def test_all_that_was_sent_before_something_came_late_is_in_doubt(lateness):
    lateness.is_late("a", 100.0, 102.0)

    assert lateness.is_late("a", 101.9, 102.0)
    assert not lateness.is_late("b", 101.9, 102.0)
    assert not lateness.is_late("a", 102.1, 102.2)
    assert not lateness.is_late("a", 102.0, 102.3)  # nothing comes out of order


def test_an_excuse_holds_for_all():
    lateness = Lateness(1.0, excused=lambda age: age < 10)

    assert not lateness.is_late("a", 100.0, 105.0)
    assert lateness.is_late("a", 100.0, 111.0)
