"""Who has too much waiting to be read is disconnected, and who is not."""

from types import SimpleNamespace

import pytest

from agentd.transport.backlog import DEBTOR_SHARE, LONG_S, PAUSE_S, Backlog
from agentd.transport.brake import HOLD_S
from agentd.transport.connections import Connection
from tests.unit.server.fakes import FakeLoop

MOST = 8_000_000


class Book(list):
    """Four connections, and what has come by each, on paper."""

    def __init__(self):
        super().__init__(
            Connection(fd, 0, route=bytes([fd]), peer=f"key:{fd} 10.0.0.1") for fd in range(4)
        )
        self.came = dict.fromkeys(self, 0)
        self.ended = []

    def received(self, connection):
        return self.came[connection]

    def sends(self, number, waiting, taken=100_000):
        """A frame of one of them was taken, and so many bytes more have come."""
        self.came[self[number]] += waiting + taken
        self[number].messages += 1
        self[number].frames += 1
        self[number].bytes += taken

    def end(self, connection):
        self.ended.append(connection.fd)
        connection.ended = True
        return True


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def front():
    owing = set()
    return SimpleNamespace(
        drained=False, on_left=None, owing=owing, owes=lambda route: route[0] in owing
    )


@pytest.fixture
def shut_out():
    return []


@pytest.fixture
def held():
    return []


@pytest.fixture
def backlog(loop, book, front, shut_out, held):
    made = Backlog(
        loop,
        book,
        MOST,
        2 * MOST,
        lambda peer: shut_out.append(peer) or 1.0,
        lambda connection, _why, seconds: held.append((connection.fd, seconds)),
    )
    made.follow(0, front)
    return made


def look(loop):
    loop.pass_time(1.0)


def begin(loop, book, front):
    """All are seen with something taken of them."""
    front.on_left()
    for number in range(4):
        book.sends(number, 0)
    look(loop)
    assert book.ended == []


def test_who_has_more_waiting_than_a_client_may_have_is_disconnected(
    backlog, loop, book, front, shut_out, caplog
):
    begin(loop, book, front)
    book.sends(1, MOST // 2)
    book.sends(2, MOST + 1000)
    look(loop)
    assert book.ended == [2]
    assert shut_out == ["key:2 10.0.0.1"]
    assert backlog.disconnected == 1
    assert "wait to be read" in caplog.text


def test_who_has_more_than_half_of_that_waiting_is_held_up(backlog, loop, book, front, held):
    begin(loop, book, front)
    front.owing.add(3)
    book.sends(1, MOST // 2 - 10_000, taken=10 * MOST)
    book.sends(2, MOST // 2 + 1000, taken=10 * MOST)
    book.sends(3, MOST // 2 // DEBTOR_SHARE + 1000, taken=10 * MOST)
    look(loop)
    assert held == [(2, HOLD_S), (3, HOLD_S)]
    assert book.ended == []


def test_who_is_too_far_ahead_of_what_is_taken_is_held_up_for_a_moment(
    backlog, loop, book, front, held
):
    """However little that is: here 100 bytes a second are taken of each."""
    front.on_left()
    for number in range(4):
        book.sends(number, 0)
    loop.pass_time(0.0)
    for _ in range(5):
        book.sends(1, 100 * LONG_S / 7, taken=2)
        book.sends(2, 100 * LONG_S / 4, taken=2)
        loop.pass_time(0.02)
    assert set(held) == {(2, PAUSE_S)}
    assert book.ended == []


def test_who_sends_much_that_is_taken_is_not(backlog, loop, book, front):
    begin(loop, book, front)
    for _ in range(20):
        book.sends(1, 0, taken=MOST)
        look(loop)
    assert book.ended == []


def test_who_is_in_debt_may_have_less(backlog, loop, book, front):
    begin(loop, book, front)
    front.owing.add(3)
    book.sends(1, MOST // DEBTOR_SHARE + 1000)
    book.sends(3, MOST // DEBTOR_SHARE + 1000)
    look(loop)
    assert book.ended == [3]


def test_all_together_are_bounded_too(backlog, loop, book, front):
    begin(loop, book, front)
    for number in range(4):
        book.sends(number, MOST // 2 + 100_000 * (number + 1))
    look(loop)
    assert book.ended == [3]


def test_who_was_ended_is_not_looked_at_again(backlog, loop, book, front, shut_out):
    """libzmq has not seen it yet, and there are others."""
    begin(loop, book, front)
    book[3].ended = True
    for number in range(4):
        book.sends(number, MOST * 7 // 10 + 100_000 * number)
    look(loop)
    assert book.ended == [2]


def test_it_looks_only_while_something_is_left(backlog, loop, book, front):
    begin(loop, book, front)
    front.drained = True
    look(loop)
    assert loop.timers == []
    front.drained = False
    book.sends(1, 10 * MOST)
    front.on_left()
    look(loop)  # what came while nothing was left is no backlog
    assert book.ended == []


def test_who_was_not_served_since_has_nothing_here(backlog, loop, book, front):
    """A message that is not finished is the watchdog's to find."""
    begin(loop, book, front)
    book.came[book[1]] += 10 * MOST
    look(loop)
    assert book.ended == []
