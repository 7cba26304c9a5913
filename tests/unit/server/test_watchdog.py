"""Who is disconnected when there is too much memory, and who is not."""

import pytest

from agentd.server.watchdog import USUAL_S, Watchdog
from agentd.transport.connections import Connection
from tests.unit.server.fakes import FakeLoop


class Book(list):
    """Connections that are looked at, and ended, on paper."""

    def __init__(self):
        super().__init__(Connection(fd, 0) for fd in range(4))
        self.sending = set()
        self.ended = []
        self.asked = []

    def look(self, connection):
        if connection.messages != connection.seen:
            connection.seen, connection.pressure = connection.messages, 0
        if connection.fd in self.sending:
            connection.pressure += 1

    def who(self, connection):
        return f"process {connection.fd}"

    def end(self, connection):
        self.ended.append(connection.fd)
        self.remove(connection)
        return True


class Memory:
    used = 10
    kept = 0

    def __call__(self):
        return self.used + self.kept

    def give_back(self):
        self.kept = 0


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def dog(loop, book, memory):
    return Watchdog(loop, book, 100, book.asked.append, memory, memory.give_back)


def test_with_enough_memory_nobody_is_looked_at(dog, loop, book):
    book.sending = {1}
    loop.pass_time(60)
    assert (book.ended, book[1].pressure) == ([], 0)


def test_who_sends_without_finishing_is_disconnected(dog, loop, book, memory):
    book.sending = {1, 2}
    memory.used = 60
    loop.pass_time(5)
    assert book.ended == []  # there is enough yet, but it is known who sends
    book[1].messages += 1  # that one finishes what it sends
    memory.used = 101
    loop.pass_time(0.5)
    assert book.ended == [2]
    assert dog.disconnected == 1


def test_who_was_seen_once_is_not_at_fault(dog, loop, book, memory):
    book.sending = {1}
    memory.used = 101
    for _ in range(100):
        book[1].messages += 1
        loop.pass_time(0.015)
    assert book.ended == []


def test_what_came_over_tcp_counts_most(dog, loop, book, memory):
    book.sending = {1, 3}
    book[3].unfinished = 1_000_000
    memory.used = 101
    loop.pass_time(1)
    assert book.ended == [3]


def test_memory_that_is_free_already_costs_nobody_his_connection(dog, loop, book, memory):
    book.sending = {1}
    memory.used, memory.kept = 60, 60
    loop.pass_time(10)
    assert (book.ended, memory.kept) == ([], 0)


def test_after_one_was_disconnected_there_is_time_for_its_memory_to_come_back(
    dog, loop, book, memory
):
    book.sending = {1, 2}
    memory.used = 101
    loop.pass_time(1.2)
    assert len(book.ended) == 1
    memory.used = 10
    loop.pass_time(60)
    assert len(book.ended) == 1


def test_one_who_stopped_in_the_middle_is_found_by_asking(dog, loop, book, memory, caplog):
    memory.used = 101
    first, second, third, fourth = book
    loop.pass_time(2)
    assert book.asked == [first, second, third, fourth]
    assert [r.action for r in caplog.records] == ["memory_high"]
    for connection in (first, third, fourth):
        connection.messages += 1  # the answer
    loop.pass_time(2)
    assert book.ended == [1]


def test_of_those_who_are_silent_the_ones_that_were_seen_sending_go_first(dog, loop, book, memory):
    memory.used = 60
    book.sending = {2}
    loop.pass_time(0.51)
    book.sending = set()
    memory.used = 101
    loop.pass_time(4)
    assert book.ended == [2]


def test_if_it_is_nobody_it_is_told_again_once_in_a_while(dog, loop, book, memory, caplog):
    memory.used = 101
    for _ in range(300):
        for connection in book:
            connection.messages += 1
        loop.pass_time(0.1)
    told = [r for r in caplog.records if r.action == "memory_high"]
    assert len(told) in (2, 3, 4)
    assert book.ended == []


def test_no_limit_watches_nothing(loop, book):
    Watchdog(loop, book, 0, memory=lambda: 10**15)
    assert loop.timers == []


def test_a_look_that_fails_is_not_the_last(loop, book, memory):
    """As when all descriptors are taken: just then it is needed most."""
    fails = []

    def look():
        if fails:
            raise OSError(fails.pop(), "Too many open files")
        return memory()

    Watchdog(loop, book, 100, book.asked.append, look, memory.give_back)
    fails.append(24)
    with pytest.raises(OSError, match="Too many"):
        loop.pass_time(USUAL_S)
    book.sending = {1}
    memory.used = 101
    loop.pass_time(1)
    assert book.ended == [1]
