"""Who sends nonsense, and for how long it is not listened to."""

import pytest

from agentd.transport.faults import REMEMBERED, Faults


@pytest.fixture
def faults(clock):
    return Faults(3, clock)


def test_a_few_are_forgiven(faults):
    assert [faults.add("a") for _ in range(2)] == [0, 0]
    assert not faults.is_shut_out("a")


def test_one_too_many_shuts_out_for_a_second(faults, clock):
    assert [faults.add("a") for _ in range(3)] == [0, 0, 1]
    assert faults.is_shut_out("a")
    clock.now += 0.99
    assert faults.is_shut_out("a")
    clock.now += 0.01
    assert not faults.is_shut_out("a")


def test_a_long_one_counts_as_several_and_three_are_answered(clock):
    faults = Faults(12, clock)
    assert [faults.add("a", 3) for _ in range(4)] == [0, 0, 0, 1]
    assert [faults.add("b", 1_000) for _ in range(3)] == [0, 0, 1]


def test_nobody_else_is(faults):
    for _ in range(3):
        faults.add("a")
    assert not faults.is_shut_out("b")


def test_a_relapse_doubles_it_up_to_a_minute(faults):
    told = [faults.add("a") for _ in range(3 * 8)]
    assert [seconds for seconds in told if seconds] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_is_not_forgiven_once_shuts_out_at_once(faults, clock):
    assert [faults.shut_out("a"), faults.shut_out("a")] == [1, 2]
    assert faults.is_shut_out("a")
    clock.now += 2
    assert not faults.is_shut_out("a")
    assert Faults(0, clock).shut_out("a") == 1


def test_without_a_limit_all_is_forgiven(clock):
    faults = Faults(0, clock)
    assert not any(faults.add("a") for _ in range(1_000))
    assert not faults.is_shut_out("a")


def test_those_quiet_for_longest_are_forgotten_first(faults):
    for _ in range(3):
        faults.add("first")
    for _ in range(3):
        faults.add("second")
    for number in range(REMEMBERED - 1):
        faults.add(str(number))
    assert not faults.is_shut_out("first")
    assert faults.is_shut_out("second")
