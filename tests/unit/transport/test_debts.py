"""Who makes work that helps nobody is served slowly, until it has been quiet for a while."""

import pytest

from agentd.transport.debts import CREDIT, CROWD, DEAR_BYTES, PAID_BACK, Debts


@pytest.fixture
def debts(clock):
    return Debts(clock)


def owing(debts, peer, times=int(CREDIT) + 1):
    for _ in range(times):
        debts.charge(peer)


def test_a_few_hundred_at_once_are_nobodys_concern(debts):
    owing(debts, "a", int(CREDIT))
    assert not debts.owes("a")
    debts.charge("a")
    assert debts.owes("a")
    assert not debts.owes("b")


def test_it_is_paid_back_by_waiting(debts, clock):
    owing(debts, "a", int(CREDIT) + 50)
    clock.now += 49 / PAID_BACK
    assert debts.owes("a")
    clock.now += 2 / PAID_BACK
    assert not debts.owes("a")


def test_what_is_seldom_is_never_owed(debts, clock):
    for _ in range(2_000):
        debts.charge("a")
        clock.now += 1 / PAID_BACK
        assert not debts.owes("a")


def test_long_messages_count_more(debts):
    for _ in range(10):
        debts.charge("a", DEAR_BYTES * int(CREDIT) // 10)
    assert debts.owes("a")


def test_whoever_stops_is_soon_a_peer_like_any_other(debts, clock):
    owing(debts, "a", 100_000)
    clock.now += CREDIT / PAID_BACK + 0.01
    assert not debts.owes("a")


def test_those_who_owe_nothing_any_more_are_forgotten(debts, clock):
    for peer in range(CROWD):
        debts.charge(peer)
    clock.now += 1.0
    for peer in range(CROWD):
        debts.charge(f"later {peer}")
    assert len(debts._owed) == CROWD


def test_who_has_gone_is_forgotten(debts):
    owing(debts, "a")
    debts.forget("a")
    assert not debts.owes("a")
