"""How much of what a peer sent waits to be read."""

import pytest

from agentd.transport.connections import Connection
from agentd.transport.unread import FRAME_BYTES, PACE_S, Unread, sealed_size


@pytest.fixture
def came():
    return {}


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def unread(came, now):
    return Unread(lambda connection: came[connection], lambda: now[0])


@pytest.fixture
def peer(came):
    connection = Connection(5, 0)
    came[connection] = 0
    return connection


def test_what_came_before_the_first_look_does_not_count(came, unread, peer):
    came[peer] = 1_000_000
    assert unread.look(peer).bytes == 0
    assert unread.look(peer).bytes == 0


def test_what_came_and_was_not_taken_counts_with_what_its_frames_take(came, unread, peer):
    unread.look(peer)
    came[peer] = 10_000
    assert unread.look(peer).bytes == 10_000  # nothing was taken: nobody knows how many frames
    peer.bytes, peer.frames = 1_000, 20
    assert unread.look(peer).bytes == 9_000 + FRAME_BYTES * 180


def test_what_was_taken_does_not_count(came, unread, peer):
    peer.bytes, peer.frames = 5_000, 50  # before
    unread.look(peer)
    came[peer] = 3_000
    peer.bytes, peer.frames = 8_000, 80
    assert unread.look(peer).bytes == 0


def test_how_long_it_will_take_goes_by_how_long_the_rest_took(came, now, unread, peer):
    unread.look(peer)
    came[peer], peer.bytes = 10_000, 1_000
    now[0] = PACE_S / 2
    assert unread.look(peer).seconds == 0.0  # that tells too little
    now[0] = 2.0
    assert unread.look(peer).seconds == pytest.approx(18.0)
    peer.bytes = 10_000
    assert unread.look(peer).seconds == 0.0


def test_once_all_was_taken_it_begins_anew(came, unread, peer):
    unread.look(peer)
    came[peer] = 3_000
    unread.clear()
    assert unread.look(peer).bytes == 0
    came[peer] = 3_500
    assert unread.look(peer).bytes == 500


def test_those_that_have_gone_are_forgotten(came, unread, peer):
    other = Connection(6, 0)
    came[other] = 0
    unread.look(peer)
    unread.look(other)
    came[peer] = came[other] = 100
    unread.keep({other: 0})
    assert (unread.look(peer).bytes, unread.look(other).bytes) == (0, 100)


@pytest.mark.parametrize(("length", "sealed"), [(0, 35), (222, 257), (223, 265), (70_000, 70_042)])
def test_a_sealed_frame_is_as_long_as_it_is_on_the_wire(length, sealed):
    """As what our own CURVE client by hand sends (tests/faults/test_raw_curve.py)."""
    assert sealed_size([bytes(length)]) == sealed
    assert sealed_size([bytes(length)] * 3) == 3 * sealed
