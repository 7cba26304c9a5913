"""Who has sent more than the longest message, and finished none."""

from types import SimpleNamespace

import pytest

from agentd.transport.overlong import (
    EAGER_S,
    HELD_S,
    LONG,
    SEEN,
    SPARE,
    USUAL_S,
    WARY_S,
    Overlong,
)
from tests.unit.server.fakes import FakeLoop
from tests.unit.transport import test_unfinished as unfinished

MIB = 1024 * 1024
DOOR = 2
LONGEST = 16 * MIB
MOST = SPARE * LONGEST


class Book(unfinished.Book):
    """Of which some may be held up."""

    def __init__(self):
        super().__init__(3)
        for connection in self.all:
            connection.front = DOOR
        self.waits = dict.fromkeys(range(3), 0)
        self.looks = 0
        self.held = []
        self.able = True

    def __iter__(self):
        self.looks += 1
        return super().__iter__()

    def pending(self, connection):
        return self.waits[connection.fd]

    def hold(self, connection, _why, seconds):
        assert seconds == HELD_S
        if self.able:
            self.held.append(connection.fd)
        return self.able


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def front():
    return SimpleNamespace(drained=True)


@pytest.fixture
def overlong(loop, book, front):
    made = Overlong(loop, book, LONGEST, book.hold)
    made.follow(DOOR, front)
    return made


def look(loop, times=1, seconds=EAGER_S):
    for _ in range(times):
        loop.pass_time(seconds)


def test_parts_that_are_more_than_any_message_are_held_up_and_then_ended(overlong, loop, book):
    look(loop, seconds=USUAL_S)
    book.part(1, MOST + MIB)
    look(loop, seconds=USUAL_S)  # from here on it is looked eagerly
    look(loop, SEEN - 2)
    assert book.held == []
    look(loop)
    assert book.held == [1]
    assert book.all[1].overlong
    assert book.ended == []
    look(loop, seconds=HELD_S)
    assert book.ended == [1]
    assert overlong.disconnected == 1


def test_a_first_message_counts_from_its_beginning(overlong, loop, book):
    book.part(0, MOST + MIB)
    look(loop, seconds=USUAL_S)
    look(loop, SEEN)
    assert book.held
    assert set(book.held) == {0}


def test_messages_that_are_finished_may_be_as_many_as_they_like(overlong, loop, book):
    for _ in range(100):
        book.whole(0, MOST)
        book.part(0, LONGEST)
        look(loop, seconds=USUAL_S)
    assert book.held == []


def test_one_that_is_a_little_too_long_is_not_for_us(overlong, loop, book):
    book.part(0, MOST - 700)
    look(loop, 20, USUAL_S)
    assert book.held == []


def test_what_nobody_has_read_may_be_the_end_of_a_message(overlong, loop, book, front):
    book.part(0, MOST + MIB)
    book.waits[0] = 2 * MIB
    look(loop, 20, USUAL_S)
    assert book.held == []
    book.waits[0] = 0
    front.drained = False  # messages that are finished wait to be read
    look(loop, 20, USUAL_S)
    assert book.held == []
    front.drained = True
    look(loop, SEEN)
    assert book.held == [0]


def test_those_within_the_host_are_others_concern(overlong, loop, book):
    book.all[2].front = DOOR + 1
    book.part(2, 10 * MOST)
    look(loop, 20, USUAL_S)
    assert book.held == []


def test_one_that_cannot_be_held_up_is_ended(overlong, loop, book, caplog):
    book.able = False
    book.part(0, MOST + MIB)
    look(loop, seconds=USUAL_S)
    look(loop, SEEN)
    assert book.ended == [0]
    assert "0 was disconnected: of what it sent 33 MiB are no message yet" in caplog.text
    assert "16 MiB (max_message_bytes)" in caplog.text


def test_it_is_looked_seldom_until_somebody_sends_much(overlong, loop, book):
    look(loop, 10, USUAL_S)
    seldom, book.looks = book.looks, 0
    assert seldom == 10
    book.part(0, LONG + 1)
    look(loop, seconds=USUAL_S)
    look(loop, 10)
    assert book.looks == 11


def test_for_a_while_after_somebody_was_held_up_the_next_one_is_seen_at_once(overlong, loop, book):
    book.part(0, MOST + MIB)
    look(loop, seconds=USUAL_S)
    look(loop, SEEN)
    look(loop, seconds=HELD_S)
    assert book.ended == [0]
    book.part(1, MOST + MIB)
    look(loop, SEEN)
    assert book.held[-1] == 1
    book.ended.append(1)
    look(loop, seconds=2 * WARY_S)
    book.looks = 0
    look(loop, 2, USUAL_S)
    assert book.looks == 2
