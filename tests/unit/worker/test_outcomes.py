"""Outcomes that wait to be fetched, with a clock that is told the time."""

import pickle

import pytest

from agentd.client.fetching import Outcome
from agentd.errors import OutcomeUnknown, Overloaded, ResultExpired
from agentd.protocol.messages import Error, Result
from agentd.worker import outcomes as module
from agentd.worker import recent
from agentd.worker.outcomes import EARLY_S, LATE_S, LAZY_BYTES, MAX_AGE_S, Outcomes
from tests.unit.worker.fakes import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def held(clock):
    return Outcomes(clock.later, clock)


def outcome(size=1):
    return Outcome(Result(1, "data"), [bytes(size)])


def fetched(held, key):
    """What a fetch gives, in the order it comes."""
    found = []
    held.fetch(key, found.append)
    return found


def keep(held, key, size=1):
    made = outcome(size)
    assert held.expect(key)
    held.put(key, made)
    return made


def test_it_is_held_for_any_number_of_fetches(held):
    made = keep(held, b"k")
    assert fetched(held, b"k") == [made]
    assert fetched(held, b"k") == [made]


def test_a_fetch_before_it_is_done_gets_it_then(held, clock):
    held.expect(b"k")
    one, two = fetched(held, b"k"), fetched(held, b"k")
    clock.advance(10 * EARLY_S)
    assert (one, two) == ([], [])
    made = outcome()
    held.put(b"k", made)
    assert (one, two) == ([made], [made])


def test_a_fetch_that_is_quicker_than_the_call_waits_for_it(held, clock):
    early = fetched(held, b"k")
    clock.advance(EARLY_S / 2)
    held.expect(b"k")
    clock.advance(EARLY_S)
    assert early == []
    made = outcome()
    held.put(b"k", made)
    clock.advance(EARLY_S)
    assert early == [made]


def test_a_fetch_of_what_never_comes_is_told_so(held, clock):
    early = fetched(held, b"k")
    clock.advance(EARLY_S - 0.1)
    assert early == []
    clock.advance(0.2)
    assert [type(error) for error in early] == [ResultExpired]


def test_an_outcome_that_nobody_expected_is_not_held(held, clock):
    held.put(b"k", outcome())
    assert_expired(held, clock, b"k")


def test_the_same_call_again_is_known(held):
    assert held.expect(b"k")
    assert not held.expect(b"k")
    held.put(b"k", outcome())
    assert not held.expect(b"k")


@pytest.mark.parametrize("when", ["running", "done"])
def test_released_it_is_gone(held, clock, when):
    held.expect(b"k")
    if when == "done":
        held.put(b"k", outcome())
    held.release(b"k")
    if when == "running":
        held.put(b"k", outcome())
    assert_expired(held, clock, b"k")
    held.release(b"never there")


def test_a_release_does_not_hurt_those_who_wait(held):
    held.expect(b"k")
    waits = fetched(held, b"k")
    held.release(b"k")
    made = outcome()
    held.put(b"k", made)
    assert waits == [made]


def test_bounded_by_count_the_oldest_goes_first(held, clock, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNT", 3)
    made = {key: keep(held, key) for key in (b"1", b"2", b"3", b"4")}
    for key in (b"2", b"3", b"4"):
        assert fetched(held, key) == [made[key]]
    assert_expired(held, clock, b"1")


def test_bounded_by_bytes(held, clock, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    keep(held, b"1", 60)
    newer = keep(held, b"2", 60)
    assert fetched(held, b"2") == [newer]
    assert_expired(held, clock, b"1")
    held.release(b"2")
    small, other = keep(held, b"3", 50), keep(held, b"4", 50)
    assert fetched(held, b"3") + fetched(held, b"4") == [small, other]


def test_bounded_by_age(held, clock):
    keep(held, b"1")
    clock.advance(MAX_AGE_S + 1)
    newer = keep(held, b"2")
    assert fetched(held, b"2") == [newer]
    assert_expired(held, clock, b"1")


def test_a_result_that_is_too_old_is_not_given_out_though_nothing_else_came(held, clock):
    keep(held, b"1")
    clock.now += MAX_AGE_S + 0.1  # and no timer was looked at
    assert_expired(held, clock, b"1")
    keep(held, b"2")
    clock.now += MAX_AGE_S + 0.1
    assert isinstance(held.recall(b"2"), OutcomeUnknown)
    keep(held, b"3")
    clock.now += MAX_AGE_S + 0.1
    assert held.expect(b"3"), "the same call again is a new one"


def test_memory_goes_though_nobody_asks_any_more(held, clock):
    keep(held, b"1", 1000)
    clock.advance(MAX_AGE_S / 2)
    keep(held, b"2", 10)
    clock.advance(MAX_AGE_S / 2 + 2)
    assert (list(held._done), held._bytes) == ([b"2"], 10)
    clock.advance(MAX_AGE_S)
    assert (list(held._done), held._bytes, clock.timers) == ([], 0, 0)


def test_a_timer_is_there_only_while_something_is_held(held, clock):
    assert clock.timers == 0
    keep(held, b"1")
    keep(held, b"2")
    assert clock.timers == 1
    held.release(b"1")
    held.release(b"2")
    clock.advance(MAX_AGE_S + 2)
    assert clock.timers == 0


def test_after_8192_newer_ones_it_is_still_there(held):
    """Row 17 of the study: results vanished after so many."""
    made = keep(held, b"first")
    for number in range(8_192):
        keep(held, number.to_bytes(4, "big"))
    assert fetched(held, b"first") == [made]


def assert_expired(held, clock, key):
    found = fetched(held, key)
    clock.advance(EARLY_S + 0.1)
    assert [type(error) for error in found] == [ResultExpired]
    assert f"{MAX_AGE_S:g} s" in str(found[0])


def test_a_released_call_that_is_asked_for_again_is_not_run_again(held):
    keep(held, b"done")
    assert held.expect(b"runs")
    held.release(b"done")
    held.release(b"runs")
    held.release(b"never came")
    for key in (b"done", b"runs"):
        assert isinstance(held.recall(key), OutcomeUnknown)
        assert held.recall(key).started
    assert held.recall(b"never came") is None


def test_a_call_whose_outcome_had_to_go_is_not_run_again(held, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNT", 1)
    keep(held, b"old")
    made = keep(held, b"new")
    assert isinstance(held.recall(b"old"), OutcomeUnknown)
    assert held.recall(b"new") is made


def test_a_call_that_was_refused_for_want_of_room_is_new_when_it_comes_again(held):
    assert held.expect(b"k")
    held.put(b"k", Outcome(Error(1, Overloaded.code, "full"), []))
    assert held.expect(b"k")
    held.release(b"other")
    assert held.recall(b"k") is None


def test_what_is_known_of_released_calls_is_bounded(held, monkeypatch):
    monkeypatch.setattr(recent, "KEYS", 3)
    for number in range(10):
        keep(held, bytes([number]))
        held.release(bytes([number]))
    assert len(held._recent._came) < 3
    assert len(held._recent._came_before) == 3
    assert not held.recall(b"\0").started  # whether it came is not known any more


def test_a_result_with_out_of_band_buffers_is_remembered(held):
    made = Outcome(Result(1, "pickle"), [b"head", pickle.PickleBuffer(bytes(10))])
    held.remember(b"k", made)
    assert held.recall(b"k") == made


# -- what is not delivered -------------------------------------------------------------------------
def stays(held, key, size, **how):
    held.expect(key)
    return held.put(key, outcome(size), **how)


def test_a_big_value_stays_and_one_that_was_handed_on_whatever_its_size(held):
    assert stays(held, b"1", LAZY_BYTES + 1, lazy=True)
    assert not stays(held, b"2", LAZY_BYTES, lazy=True)
    assert not stays(held, b"3", LAZY_BYTES + 1)
    assert stays(held, b"4", 0, handed_on=True)
    assert not held.put(b"released before", outcome(), handed_on=True)


def test_no_more_than_half_of_the_room_is_for_what_was_not_delivered(held, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNT", 4)
    kept = [stays(held, bytes([number]), 1, handed_on=True) for number in range(4)]
    assert kept == [True, True, False, False]
    held.release(b"\0")
    assert stays(held, b"k", 1, handed_on=True)
    monkeypatch.setattr(module, "MAX_BYTES", 20)
    held.release(b"\1")
    assert not stays(held, b"l", 10, handed_on=True)


def test_the_memory_of_much_that_was_let_go_is_given_back(clock, monkeypatch):
    # Given
    monkeypatch.setattr(module, "RETURN_BYTES", 100)
    given = []
    held = Outcomes(clock.later, clock, lambda: given.append(clock.now))
    for key in (b"a", b"b", b"c", b"d"):
        keep(held, key, size=60)
    # When
    held.release(b"a")
    clock.advance(2 * LATE_S)
    few = list(given)
    held.release(b"b")
    held.release(b"c")
    clock.advance(2 * LATE_S)
    much = list(given)
    held.release(b"d")
    clock.advance(2 * LATE_S)
    # Then
    assert (len(few), len(much), len(given)) == (0, 1, 1)
