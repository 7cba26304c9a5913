"""Frames in pieces are what they were when they have been put together again."""

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.transport import pieces
from agentd.transport.pieces import cut, join

SMALL = 4
"""Bytes of a piece here: so all lengths around whole pieces are met."""


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", SMALL)
        yield


def arrived(frames):
    """As they come in: each part with memory of its own."""
    return [bytes(part) for part in cut(frames)]


@given(st.lists(st.binary(max_size=3 * SMALL + 1)))
def test_what_was_cut_is_joined(frames):
    parts = arrived(frames)
    assert all(len(part) <= SMALL for part in parts)
    assert [bytes(frame) for frame in join(parts)] == frames


@pytest.mark.parametrize("length", [0, 1, SMALL - 1])
def test_short_frames_go_as_they_are(length):
    frames = [b"x" * length]
    assert cut(frames) is frames
    assert join(frames) is frames


@pytest.mark.parametrize(
    ("length", "lengths"),
    [(SMALL, [SMALL, 0]), (SMALL + 1, [SMALL, 1]), (2 * SMALL, [SMALL] * 2 + [0])],
)
def test_a_frame_ends_with_the_first_piece_that_is_shorter(length, lengths):
    assert [len(piece) for piece in cut([bytes(length)])] == lengths


def test_nothing_is_copied_and_what_may_not_change_still_may_not():
    content = bytes(range(10))
    parts = cut([content])
    assert all(part.obj is content and part.readonly for part in parts)
    assert all(not part.readonly for part in cut([bytearray(content)]))


def test_what_is_longer_than_it_has_items_is_cut_by_bytes():
    numbers = array.array("d", [1.0, 2.0, 3.0])
    [joined] = join(arrived([memoryview(numbers)]))
    assert bytes(joined) == numbers.tobytes()


def test_what_came_in_pieces_may_be_written_to():
    [joined] = join(arrived([b"x" * 9]))
    joined[0] = ord("y")
    assert bytes(joined) == b"y" + b"x" * 8


def test_a_message_that_ends_with_a_whole_piece_ends_there():
    whole = b"x" * SMALL
    assert [bytes(frame) for frame in join([b"ab", whole])] == [b"ab", whole]
    assert [bytes(frame) for frame in join([whole, whole])] == [2 * whole]
