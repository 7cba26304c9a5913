"""Whose messages are read at all, and what is told of those that are none."""

import socket

import pytest

from agentd.keys.screening import ABANDONED_S, Screening
from agentd.protocol import HeaderLimits, pack
from agentd.protocol.access import admin_grant
from agentd.protocol.messages import Ask, Bye, Call, Cancel, Create, Error, Ping
from agentd.transport.faults import FIRST_S
from agentd.transport.origin import Origin, mark_of
from agentd.transport.shares import DEAR_BYTES

KNOWN = "key:known"
MOST = 6
ROUTE = b"\0\0\0\0\1"


class Unreadable:
    """A frame of which nobody may look at a byte."""

    def __len__(self):
        raise AssertionError("it was looked at")

    def __bytes__(self):
        raise AssertionError("it was read")

    def __buffer__(self, _flags):
        raise AssertionError("it was read")


class Door:
    """What a screening is told to do, noted."""

    def __init__(self):
        self.now = 0.0
        self.turned_away = []
        self.charged = 0
        self.answers = []
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(0)
        self.screening = Screening(
            lambda who: admin_grant(who) if who == KNOWN else None,
            HeaderLimits(),
            MOST,
            lambda: self.now,
            turn_away=lambda address, _origin: self.turned_away.append(address),
            charge=lambda _address, _frames: self._charge(),
            answer=lambda _address, message: self.answers.append(message),
        )

    def _charge(self):
        self.charged += 1

    def comes(self, *frames, who=KNOWN, route=ROUTE, gone_s=0.0):
        fd = self.ours.fileno()
        origin = Origin(route, who, fd, f"{who} 127.0.0.1", 0 if gone_s else mark_of(fd), gone_s)
        return self.screening.read((0, route), [origin, *frames])

    @property
    def is_cut_off(self):
        try:
            return self.theirs.recv(1) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def door():
    made = Door()
    yield made
    made.ours.close()
    made.theirs.close()


def call(**options):
    return Call(7, b"a" * 16, 1, "method", "echo", "data", **options)


@pytest.mark.parametrize(
    "message", [Ping(7), Ask(7, "info"), call(), call(key=b"k")], ids=lambda each: each.kind
)
def test_what_somebody_asked_who_has_gone_is_not_done(door, message):
    assert door.comes(*pack(message), gone_s=ABANDONED_S / 2) == message
    assert door.comes(*pack(message), gone_s=2 * ABANDONED_S) is None
    assert (door.screening.counted().abandoned, door.charged, door.answers) == (1, 0, [])


@pytest.mark.parametrize(
    "message",
    [
        call(oneway=True),
        call(key=b"k", hold=True),
        Create(7, b"a" * 16, "m:C", "spec", "data"),
        Cancel(b"a" * 16, b"k"),
        Bye(),
    ],
    ids=["one-way", "held for others", "creation", "cancel", "bye"],
)
def test_what_is_not_for_its_sender_alone_is_done_all_the_same(door, message):
    assert door.comes(*pack(message), gone_s=2 * ABANDONED_S) == message
    assert door.screening.counted().abandoned == 0


def test_a_message_of_somebody_with_a_grant_is_read(door):
    assert door.comes(*pack(Ping(7, 1.5))) == Ping(7, 1.5)
    assert (door.turned_away, door.charged, door.answers) == ([], 0, [])


@pytest.mark.parametrize("who", ["", "key:other", "uid:1"])
def test_of_somebody_without_a_grant_not_a_byte_is_read(door, who):
    assert door.comes(Unreadable(), who=who) is None
    assert len(door.turned_away) == 1
    assert door.answers == []


@pytest.mark.parametrize("route", [b"", b"chosen", b"\1\0\0\0\1"])
def test_a_route_that_the_peer_chose_is_nobodys(door, route):
    assert door.comes(Unreadable(), route=route) is None
    assert len(door.turned_away) == 1


@pytest.mark.parametrize("frames", [(), (b"",), (b"no header",), (b"AGD1\xc1",)])
def test_what_is_no_message_is_answered_and_charged(door, frames):
    assert door.comes(*frames) is None
    [answer] = door.answers
    assert isinstance(answer, Error)
    assert (answer.id, answer.code) == (0, "ProtocolError")
    assert (door.charged, door.screening.malformed) == (1, 1)
    assert not door.is_cut_off


def test_who_sends_much_of_that_is_cut_off_and_not_read_for_a_while(door):
    for _ in range(MOST):
        assert not door.is_cut_off
        door.comes(b"nonsense")
    assert door.is_cut_off
    assert door.screening.disconnected == 1
    assert door.comes(Unreadable()) is None
    assert len(door.answers) == MOST
    door.now += FIRST_S
    assert door.comes(*pack(Ping(1))) == Ping(1)


def test_what_a_connection_that_has_gone_left_cuts_nobody_off(door):
    for _ in range(MOST):
        door.screening.read((0, ROUTE), [Origin(ROUTE, KNOWN, door.ours.fileno()), b"nonsense"])
    assert door.screening.disconnected == 1
    assert not door.is_cut_off


def test_long_ones_count_as_several(door):
    for _ in range(3):
        assert not door.is_cut_off
        door.comes(bytes(DEAR_BYTES * MOST))
    assert door.is_cut_off


def test_it_may_be_told_not_to_listen_to_somebody(door):
    assert door.screening.shut_out(f"{KNOWN} 127.0.0.1") == FIRST_S
    assert door.comes(Unreadable()) is None
    assert (door.charged, door.answers) == (1, [])
