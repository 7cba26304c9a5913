"""Answers are kept in case their connection breaks: of each client the last few."""

import pytest

from agentd.client.fetching import Outcome
from agentd.errors import OutcomeUnknown
from agentd.protocol.messages import Result
from agentd.worker.recent import AGE_S, BYTES, COUNT, EACH, KEYS, MOST, Recent


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recent(clock):
    return Recent(clock)


def key(client, number):
    return client.to_bytes(16, "big") + number.to_bytes(8, "big")


def answer(recent, client, number, size=1):
    made = Outcome(Result(number), [])
    recent.remember(key(client, number), made, size)
    return made


def kept(recent, client, numbers):
    return [n for n in numbers if isinstance(recent.recall(key(client, n)), Outcome)]


def check(recent):
    assert sorted(k for keys in recent._of.values() for k in keys) == sorted(recent._answers)
    assert sum(size for _outcome, size, _at in recent._answers.values()) == recent._bytes <= BYTES
    assert len(recent._answers) <= MOST
    assert all(recent._of.values())


def test_one_client_has_the_last_of_its_answers(recent):
    for number in range(COUNT + 50):
        answer(recent, 1, number)
    assert kept(recent, 1, range(COUNT + 50)) == list(range(50, COUNT + 50))
    gone = recent.recall(key(1, 0))
    assert isinstance(gone, OutcomeUnknown)
    assert gone.started
    check(recent)


def test_a_slow_one_has_its_last_ones_however_many_the_others_make(recent):
    made = [answer(recent, 1, number) for number in range(EACH)]
    for number in range(3 * COUNT):
        answer(recent, 2, number)
    assert [recent.recall(key(1, number)) for number in range(EACH)] == made
    assert len(recent._answers) == COUNT
    check(recent)


def test_a_thousand_clients_have_their_last_ones(recent):
    clients = range(MOST // EACH)
    for number in range(2 * EACH):
        for client in clients:
            answer(recent, client, number)
    assert all(kept(recent, c, range(2 * EACH)) == list(range(EACH, 2 * EACH)) for c in clients)
    check(recent)


def test_those_of_very_many_go_by_age_in_number(recent):
    for client in range(MOST + 10):
        answer(recent, client, 0)
    assert len(recent._answers) == MOST
    assert not kept(recent, 0, [0])
    assert kept(recent, MOST + 9, [0])
    check(recent)


def test_and_in_bytes_whosoever_they_are(recent):
    answer(recent, 1, 0, BYTES // 2)
    answer(recent, 2, 0, BYTES // 2)
    answer(recent, 3, 0, 1)
    assert [kept(recent, client, [0]) for client in (1, 2, 3)] == [[], [0], [0]]
    answer(recent, 4, 0, BYTES + 1)
    assert not recent._answers
    check(recent)


def test_more_than_the_usual_number_are_not_kept_for_long(recent, clock):
    for client in range(2 * COUNT):
        answer(recent, client, 0)
    assert len(recent._answers) == 2 * COUNT
    clock.now += AGE_S + 1
    answer(recent, 0, 1)
    assert len(recent._answers) == COUNT
    check(recent)


def test_that_a_call_came_is_known_for_longer(recent):
    recent.came(key(1, 0))
    assert recent.recall(key(1, 0)).started
    assert recent.recall(key(1, 1)) is None
    for number in range(1, KEYS + 1):
        recent.came(key(1, number))
    assert recent.recall(key(1, 0)).started
    for number in range(KEYS + 1, 2 * KEYS):
        recent.came(key(1, number))
    assert recent.recall(key(1, 0)).started is None


def test_the_same_one_again_takes_the_place_of_the_first(recent):
    answer(recent, 1, 0, 10)
    last = answer(recent, 1, 0, 20)
    assert recent.recall(key(1, 0)) is last
    assert recent._bytes == 20
    check(recent)


def test_what_has_arrived_takes_no_room_and_is_not_run_again(recent):
    answer(recent, 1, 1, size=1000)
    last = answer(recent, 1, 2)
    recent.arrived(key(1, 1))
    recent.arrived(key(1, 3))  # not kept any more, or never was
    gone = recent.recall(key(1, 1))
    assert isinstance(gone, OutcomeUnknown)
    assert gone.started
    assert recent.recall(key(1, 2)) is last
    assert recent._bytes == 1
    check(recent)
