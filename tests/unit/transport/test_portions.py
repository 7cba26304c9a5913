"""Who keeps a loop busy while others want something rests for that; on paper."""

import pytest

from agentd.transport.portions import AHEAD_S, CROWD, FIRST_S, MOST_S, Portions
from agentd.transport.shares import ALONE_S

TURN_S = 0.0001


@pytest.fixture
def spent():
    return [0.0]


@pytest.fixture
def portions(clock, spent):
    return Portions(0.5, clock, lambda: spent[0])


@pytest.fixture
def turn(portions, clock, spent):
    """A turn in which messages of those came, or were answered; what it took."""

    def turn(*peers, took=TURN_S):
        for peer in peers:
            portions.count(peer)
        spent[0] += took
        clock.now += took
        portions.settle()

    return turn


def until_it_rests(portions, turn, *others, most=1_000):
    """After how many turns of a busy peer."""
    for count in range(1, most):
        turn("busy", *others)
        if portions.until("busy"):
            return count
    return 0


@pytest.fixture
def held_back(portions, turn, clock):
    """A busy peer, beside a light one, that has made up for what it had too much."""
    turn("light")
    assert until_it_rests(portions, turn)
    clock.now = portions.until("busy")
    assert not portions.until("busy")


def test_who_is_busy_beside_others_is_held_back(portions, turn, clock):
    turn("light")
    turns = until_it_rests(portions, turn)
    spent_s = (turns + 1) * TURN_S
    assert spent_s > 0.5 * ALONE_S
    assert portions.until("busy") - clock.now == pytest.approx(FIRST_S / 0.5)
    assert not portions.until("light")
    assert portions.rests == 1


@pytest.mark.usefixtures("held_back")
def test_who_is_held_back_rests_until_it_has_had_no_more_than_its_portion(portions, turn, clock):
    turn("light")
    turns = until_it_rests(portions, turn)
    ahead = turns * TURN_S - (turns - 1) * TURN_S / 2  # half of the time is its portion
    assert AHEAD_S < ahead < AHEAD_S + TURN_S
    rest = portions.until("busy") - clock.now
    assert 0.0 < rest <= ahead / 0.5 + 1e-9
    clock.now += rest
    assert not portions.until("busy")


@pytest.mark.usefixtures("held_back")
def test_who_is_held_back_and_then_alone_has_all_of_the_time(portions, turn, clock):
    clock.now += 2 * ALONE_S
    assert not until_it_rests(portions, turn)


def test_who_is_alone_never_does(portions, turn, clock):
    turn("light")
    clock.now += 2 * ALONE_S
    assert not until_it_rests(portions, turn)


def test_somebody_who_speaks_now_and_then_is_not_busy(portions, turn, clock):
    for _ in range(1_000):
        turn("light", "other")
        clock.now += 2 * TURN_S
    assert portions.rests == 0


def test_who_has_had_less_than_its_portion_never_rests(clock, spent):
    """Whatever somebody says who has next to nothing; a slow machine makes it more than half."""
    portions = Portions(0.2, clock, lambda: spent[0])
    for number in range(5_000):
        portions.count("polite")
        if number % 50 == 0:
            portions.count("light")
        spent[0] += TURN_S
        clock.now += TURN_S / 0.18
        portions.settle()
    assert portions.rests == 0


@pytest.mark.usefixtures("held_back")
def test_nobody_rests_because_of_somebody_whose_messages_help_nobody(portions, turn, clock):
    clock.now += 2 * ALONE_S
    for _ in range(10):
        turn("light")
        portions.ignore("light")
        assert not until_it_rests(portions, turn, most=100)
    turn("other")
    assert until_it_rests(portions, turn)
    clock.now += 3 * ALONE_S
    turn("light")  # it is like any other again
    assert until_it_rests(portions, turn)


def test_two_who_are_busy_have_all_of_the_time(portions, turn):
    turn("light")
    assert not until_it_rests(portions, turn, "as busy", most=1_000)


def test_nobody_rests_because_of_somebody_who_has_more(clock, spent):
    """A polite client, too, may have more than a small portion of a slow machine's time."""
    portions = Portions(0.15, clock, lambda: spent[0])
    rested = {"polite": 0, "busy": 0}
    for _ in range(1_000):
        for peer, count in (("polite", 1), ("busy", 5)):
            if portions.until(peer):
                rested[peer] += 1
                continue
            for _message in range(count):
                portions.count(peer)
            spent[0] += count * TURN_S
        clock.now += 4 * TURN_S
        portions.settle()
    assert rested["polite"] == 0
    assert rested["busy"] > 100


def test_who_had_most_is_forgotten_with_time(portions, turn, clock):
    """Beside somebody whom it could have disturbed a while ago nobody is alone, nor for ever."""
    turn("light", "busy", "busy")
    clock.now += ALONE_S
    turn("light")
    assert until_it_rests(portions, turn)
    clock.now += 3 * ALONE_S
    assert not until_it_rests(portions, turn)


def test_what_is_answered_counts_for_who_is_answered(portions, turn):
    """Calls are told to a worker in one turn, and their answers come in others."""
    turn("light")
    turn("busy", "light")
    while not portions.until("busy"):
        turn("light", *["busy"] * 20)
    assert not portions.until("light")


@pytest.mark.usefixtures("held_back")
def test_one_long_turn_is_not_charged_as_such(portions, turn, clock):
    turn("light", "busy", "busy", took=ALONE_S / 2)
    assert portions.until("busy") - clock.now == pytest.approx(MOST_S * 2 / 3 / 0.5)


def test_where_one_may_have_all_of_it_nobody_rests(clock, spent):
    portions = Portions(1.0, clock, lambda: spent[0])
    for _ in range(100):
        portions.count("light")
        portions.count("busy")
        spent[0] += MOST_S
        portions.settle()
    assert not portions.until("busy")


def test_of_those_that_have_gone_nothing_is_kept(portions, turn):
    for number in range(2 * CROWD):
        for _ in range(20):
            turn("light", *[f"peer {number}"] * 20, took=MOST_S)
        portions.ignore(f"peer {number}")
    assert portions.rests > CROWD
    for kept in (portions._ahead, portions._until, portions._had, portions._held, portions._vain):
        assert len(kept) <= CROWD + 1


@pytest.mark.usefixtures("held_back")
def test_no_rest_is_long_whatever_was_served_in_it(portions, turn, clock):
    for _ in range(1_000):
        turn("light", *["busy"] * 20, took=MOST_S)
    assert portions.until("busy") - clock.now <= MOST_S / 0.5 + 1e-9
