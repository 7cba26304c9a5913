"""Who is disconnected for what he sends and does not finish."""

import pytest

from agentd.transport.connections import Connection
from agentd.transport.unfinished import LOOK_S, SMALL, Unfinished
from tests.unit.server.fakes import FakeLoop

KIB, MIB = 1024, 1024 * 1024


class Book:
    """Connections by which comes what a test says."""

    def __init__(self, number):
        self.all = [Connection(fd, 0) for fd in range(number)]
        self.came = dict.fromkeys(range(number), 700)  # the handshake
        self.ended = []

    def __iter__(self):
        return iter([c for c in self.all if c.fd not in self.ended])

    def received(self, connection):
        return self.came[connection.fd]

    def who(self, connection):
        return str(connection.fd)

    def end(self, connection):
        self.ended.append(connection.fd)
        return True

    def part(self, fd, size):
        self.came[fd] += size

    def whole(self, fd, size):
        self.came[fd] += size
        self.all[fd].bytes += size
        self.all[fd].messages += 1


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def ended(loop):
    """Whether somebody was ended by the next look."""

    def look(book):
        before = len(book.ended)
        loop.pass_time(LOOK_S)
        return len(book.ended) > before

    return look


def test_messages_that_are_taken_are_not_counted_however_many(loop, ended):
    book = Book(2)
    Unfinished(loop, book, MIB, 2 * MIB)
    for _ in range(100):
        for fd in (0, 1):
            book.whole(fd, MIB)
            book.part(fd, 60)  # a heartbeat of ZeroMQ
        assert not ended(book)
    assert book.ended == []


def test_parts_of_one_message_add_up(loop, ended):
    book = Book(2)
    watched = Unfinished(loop, book, MIB, 10 * MIB)
    for _ in range(10):
        book.part(1, 100 * KIB)
        assert not ended(book)
    book.part(1, 100 * KIB)
    assert ended(book)
    assert book.ended == [1]
    assert watched.disconnected == 1


def test_parts_that_come_right_behind_a_message_count_too(loop, ended):
    """Between two looks both have come."""
    book = Book(1)
    Unfinished(loop, book, MIB, MIB)
    for _ in range(3):
        book.whole(0, 10 * MIB)
        assert not ended(book)
    book.whole(0, 10 * MIB)
    book.part(0, MIB + SMALL)
    assert ended(book)


def test_where_it_is_too_much_together_those_go_who_sent_most(loop, ended):
    book = Book(4)
    Unfinished(loop, book, 8 * MIB, 13 * MIB)
    for fd, size in enumerate((5, 8, 1, 7)):
        book.part(fd, size * MIB - 700)
    assert ended(book)
    assert book.ended == [1]
    book.part(2, 20 * MIB)
    assert ended(book)
    assert book.ended == [1, 2]


def test_somebody_idle_is_no_one_who_sends(loop, ended):
    book = Book(1)
    Unfinished(loop, book, 10 * KIB, MIB)
    for _ in range(24 * 3600):
        book.part(0, 60)
        assert not ended(book)


def test_those_who_have_gone_are_forgotten(loop, ended):
    book = Book(2)
    Unfinished(loop, book, MIB, MIB)
    book.part(0, MIB // 2)
    ended(book)
    book.ended.append(0)
    book.part(1, MIB - KIB)
    assert not ended(book)
