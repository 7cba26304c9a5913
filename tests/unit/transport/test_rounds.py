"""How thousands of connections are looked at without holding up their messages."""

import pytest

from agentd.transport.connections import Connection
from agentd.transport.rounds import PAUSE_S, SLICE, Rounds
from tests.unit.server.fakes import FakeLoop

NEXT_S = 0.5


class Looks:
    """Notes who is looked at; fails where it is told to."""

    def __init__(self):
        self.loop = FakeLoop()
        self.all = [Connection(fd, 0) for fd in range(2 * SLICE + 1)]
        self.at = []
        self.ends = 0
        self.bad = set()

    def look_at(self, connection):
        self.at.append(connection.fd)
        if connection.fd in self.bad:
            raise RuntimeError("a defect")

    def end(self):
        self.ends += 1
        return NEXT_S

    def begin(self, share=0):
        Rounds(self.loop, self.all, self.look_at, self.end, share).begin()


@pytest.fixture
def looks():
    return Looks()


def test_they_are_looked_at_a_few_at_a_time(looks):
    looks.begin()
    assert looks.at == list(range(SLICE))
    looks.loop.pass_time(PAUSE_S)
    assert looks.at == list(range(2 * SLICE))
    assert looks.ends == 0
    looks.loop.pass_time(PAUSE_S)
    assert looks.at == list(range(2 * SLICE + 1))
    assert looks.ends == 1


def test_and_all_of_them_again_after_as_long_as_was_said(looks):
    looks.begin()
    looks.loop.pass_time(2 * PAUSE_S)
    looks.at.clear()
    looks.all.append(Connection(1000, 0))
    looks.loop.pass_time(NEXT_S - PAUSE_S)
    assert looks.at == []
    looks.loop.pass_time(4 * PAUSE_S)
    assert sorted(looks.at) == [*range(2 * SLICE + 1), 1000]


def test_one_that_ended_meanwhile_is_not_looked_at(looks):
    looks.begin()
    looks.all[SLICE].ended = True
    looks.loop.pass_time(2 * PAUSE_S)
    assert SLICE not in looks.at
    assert looks.ends == 1


def test_rounds_that_take_long_are_further_apart(looks, monkeypatch):
    spent = iter(range(1000))
    monkeypatch.setattr("agentd.transport.rounds.time.thread_time", lambda: float(next(spent)))
    looks.begin(share=20)
    looks.loop.pass_time(2 * PAUSE_S)  # three pieces of a second each
    looks.at.clear()
    looks.loop.pass_time(59.9)
    assert looks.at == []
    looks.loop.pass_time(0.2)
    assert looks.at


def test_a_look_that_fails_is_not_the_last_one(looks):
    looks.bad = {1}
    with pytest.raises(RuntimeError):
        looks.begin()
    looks.loop.pass_time(2 * PAUSE_S)
    assert looks.at == [0, 1, *range(SLICE, 2 * SLICE + 1)]
    looks.bad = {0, 2 * SLICE}
    with pytest.raises(RuntimeError):  # the first of the next round, which a loop would log
        looks.loop.pass_time(NEXT_S)
    with pytest.raises(RuntimeError):
        looks.loop.pass_time(2 * PAUSE_S)
    looks.bad = set()
    looks.at.clear()
    looks.loop.pass_time(NEXT_S)
    assert looks.at
