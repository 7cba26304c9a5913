"""Which doors of workers are tried, and when again."""

import pytest

from agentd.client.doors import LONGEST_S, REFUSED_S, SILENT_S, Doors
from agentd.errors import AuthenticationFailed, DaemonNotFound
from agentd.protocol.messages import Ready


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def place(worker="w1", port=5600, key=b"k" * 32):
    return Ready(1, b"a" * 16, "m:C", worker, f"unix:///f/{worker}.sock", 1, {}, None, port, key)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def doors(clock):
    return Doors(None, None, clock)


def test_a_place_without_a_port_or_a_key_has_no_door(doors):
    assert doors.may_open(place())
    assert not doors.may_open(place(port=0, key=b""))
    assert not doors.may_open(place(key=b""))


@pytest.mark.parametrize("why", [AuthenticationFailed("no"), DaemonNotFound("nobody")])
def test_one_that_refuses_is_left_alone_for_a_moment_and_the_others_are_not(doors, clock, why):
    doors.failed(place(), why)
    assert not doors.may_open(place())
    assert doors.may_open(place("w2"))
    clock.now += REFUSED_S
    assert doors.may_open(place())


def test_where_one_says_nothing_all_are_left_alone_ever_longer(doors, clock):
    silent = DaemonNotFound("mute", silent=True)
    expected = SILENT_S
    for _ in range(12):
        doors.failed(place(), silent)
        clock.now += expected - 0.1
        assert not doors.may_open(place("w2"))
        clock.now += 0.1
        assert doors.may_open(place("w2"))
        expected = min(LONGEST_S, expected * 2)


def test_one_that_opens_shows_that_no_firewall_is_there(doors, clock):
    silent = DaemonNotFound("mute", silent=True)
    for _ in range(3):
        doors.failed(place(), silent)
        clock.now += LONGEST_S
    doors.opened()
    doors.failed(place(), silent)
    clock.now += SILENT_S
    assert doors.may_open(place())
