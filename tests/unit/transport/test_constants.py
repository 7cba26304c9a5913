"""Long bytes are filled again when nobody else has them, and only then."""

import sys
import threading
import time

import pytest

from agentd.transport import constants as constants_of
from agentd.transport import memory
from agentd.transport.constants import Constants
from agentd.transport.kept import keep, limit

SIZE = 10_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Also short ones are kept."""
    monkeypatch.setattr(constants_of, "FROM", 1000)
    monkeypatch.setattr(memory, "FROM", 1000)


@pytest.fixture
def keeps():
    """Set how much is kept."""
    before = limit()
    yield keep
    keep(before)


@pytest.fixture
def constants():
    return Constants()


def made(constants, size=SIZE, letter=b"a"):
    value = letter * size
    constants.add(value)
    return value


def test_what_nobody_has_is_handed_out_again(constants):
    value = made(constants)
    where = id(value)
    del value
    assert id(constants.take(SIZE)) == where


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value,
        lambda value: [value],
        memoryview,
        lambda value: memoryview(value)[5:10],
        lambda value: {value: 1},
        lambda value: lambda: value,
    ],
)
def test_what_somebody_has_is_not(constants, use):
    user = use(made(constants))
    assert constants.take(SIZE) is None

    del user
    assert constants.take(SIZE) is not None


def test_an_array_is_somebody(constants):
    numpy = pytest.importorskip("numpy")
    array = numpy.frombuffer(made(constants), dtype="u1")[::2]
    assert constants.take(SIZE) is None
    del array
    assert constants.take(SIZE) is not None


def test_a_thread_that_waits_with_it_is_somebody(constants):
    go = threading.Event()

    def hold(value):
        go.wait(30)
        return value

    thread = threading.Thread(target=hold, args=(made(constants),))
    thread.start()
    assert constants.take(SIZE) is None
    go.set()
    thread.join()
    del thread
    assert constants.take(SIZE) is not None


def test_nobody_gets_what_was_handed_out_and_is_in_use(constants):
    made(constants)
    first = constants.take(SIZE)
    assert first is not None
    assert constants.take(SIZE) is None


def test_another_size_is_something_else(constants):
    made(constants)
    assert constants.take(SIZE - 1) is None
    assert constants.take(SIZE + 1) is None


def test_they_have_the_hash_of_what_they_hold_now():
    first, room = memory.constant(SIZE)
    room[:] = b"x" * SIZE
    assert hash(first) == hash(b"x" * SIZE)
    where = id(first)
    del first, room

    again, room = memory.constant(SIZE)
    room[:] = b"y" * SIZE
    assert id(again) == where
    assert again == b"y" * SIZE
    assert hash(again) == hash(b"y" * SIZE)
    assert {again: 1}[b"y" * SIZE] == 1


def test_no_more_is_known_than_is_to_be_kept_and_the_oldest_go(keeps):
    constants = Constants(lambda: SIZE)
    keeps(3 * SIZE)
    values = [made(constants, letter=bytes([letter])) for letter in b"abc"]
    assert constants.kept == 2 * SIZE  # and as much waits elsewhere

    first = id(values[1])
    values.clear()
    assert id(constants.take(SIZE)) == first

    keeps(SIZE)
    made(constants)
    assert constants.kept == 0


def test_what_is_short_is_left_to_the_allocator(constants):
    made(constants, 1000)
    assert constants.kept == 0


def test_what_nobody_needs_goes(constants):
    made(constants)
    assert constants.let_go(time.monotonic() - 60)
    assert constants.kept == SIZE
    assert not constants.let_go(time.monotonic() + 1)
    assert constants.kept == 0


def test_a_forked_child_keeps_nothing(constants):
    made(constants)
    constants.forget()
    assert constants.kept == 0
    assert constants.take(SIZE) is None


def test_where_references_are_not_counted_so_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    constants = Constants()
    made(constants)
    assert constants.kept == 0


def test_what_is_kept_is_let_go_where_there_is_no_memory_for_more(monkeypatch):
    first, _room = memory.constant(SIZE)
    del first, _room
    make, failed = memory._make, []

    def full(content, size):
        if not failed:
            failed.append(size)
            raise MemoryError
        return make(content, size)

    monkeypatch.setattr(memory, "_make", full)
    assert memory.constants.kept >= SIZE
    made, _room = memory.constant(2 * SIZE)
    assert failed == [2 * SIZE]
    assert len(made) == 2 * SIZE
    assert memory.constants.kept == 2 * SIZE
