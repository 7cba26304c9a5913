"""Memory for long frames: in its final form, and used again when its last user has gone."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentd.transport import idle, memory
from agentd.transport import rooms as rooms_of
from agentd.transport.kept import keep, limit
from agentd.transport.rooms import PAGE, Rooms

MIB = 1024 * 1024


@pytest.fixture
def rooms():
    return Rooms()


@pytest.fixture
def keeps():
    """Set how much is kept."""
    before = limit()
    yield keep
    keep(before)


@pytest.mark.parametrize("size", [0, 1, 1000, memory.HUGE_FROM - 1, memory.HUGE_FROM + 12345])
def test_bytes_are_filled_in_place(size):
    content = os.urandom(size)
    made, room = memory.constant(size)
    memory.copy(memoryview(content), room)

    assert type(made) is bytes
    assert made == content
    assert hash(made) == hash(content)


@pytest.mark.parametrize("size", [1000, memory.HUGE_FROM + 12345])
def test_other_memory_may_be_written_to(size):
    kept, room = memory.changeable(size)
    memory.copy(memoryview(bytes(size)), room)
    kept[-1] = 7

    assert len(kept) == size
    assert not kept.readonly
    assert kept[-1] == 7


def test_what_its_last_user_left_is_used_again(rooms):
    first = rooms.take(3 * MIB)
    first[:3] = b"abc"
    part = memoryview(first)[1:]
    del first
    assert rooms.kept == 0  # there is still a user
    del part

    assert rooms.kept == 4 * MIB  # in whole pages
    again = rooms.take(4 * MIB)
    assert bytes(again[:3]) == b"abc"
    assert rooms.kept == 0


def test_users_never_share_one(rooms):
    many = [rooms.take(PAGE) for _ in range(5)]
    for number, room in enumerate(many):
        room[:] = bytes([number]) * PAGE

    assert [room[PAGE // 2] for room in many] == [0, 1, 2, 3, 4]


def test_a_much_larger_one_is_not_taken(rooms):
    large = rooms.take(10 * PAGE)
    del large
    rooms.take(PAGE)

    assert rooms.kept == 11 * PAGE


def test_arrays_are_users(rooms):
    numpy = pytest.importorskip("numpy")
    array = numpy.frombuffer(rooms.take(PAGE), dtype="u1").reshape(2, -1)[1]
    array[:] = 1
    assert rooms.kept == 0
    del array
    assert rooms.kept == PAGE


def test_no_more_is_kept_than_is_to_be(rooms, keeps):
    keeps(3 * PAGE)
    many = [rooms.take(PAGE) for _ in range(5)]
    many.clear()
    assert rooms.kept == 3 * PAGE

    keeps(0)
    del many
    rooms.take(4 * PAGE)
    assert rooms.kept == 3 * PAGE


def test_what_nobody_needs_goes(rooms):
    room = rooms.take(PAGE)
    assert rooms.let_go(time.monotonic())  # in use: asked again
    del room
    assert rooms.let_go(time.monotonic() - 60)
    assert rooms.kept == PAGE

    assert not rooms.let_go(time.monotonic() + 1)
    assert rooms.kept == 0


def test_it_goes_by_itself(rooms, monkeypatch):
    monkeypatch.setattr(idle, "IDLE_S", 0.01)
    monkeypatch.setattr(idle, "LOOK_S", 0.01)
    room = rooms.take(PAGE)
    del room
    until = time.monotonic() + 30
    while rooms.kept and time.monotonic() < until:
        time.sleep(0.01)

    assert rooms.kept == 0


def test_many_threads_never_get_the_same(rooms):
    def use(number):
        for turn in range(30):
            room = rooms.take(PAGE)
            mark = bytes([number, turn])
            room[:2] = room[-2:] = mark
            time.sleep(0.0002)
            assert bytes(room[:2]) == bytes(room[-2:]) == mark

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert rooms.kept <= 16 * PAGE  # each takes the next before it lets go of one


def test_what_is_kept_goes_before_there_is_too_little(rooms, monkeypatch):
    real = rooms_of.mmap.mmap
    first = rooms.take(PAGE)
    del first

    def scarce(*args):
        if rooms.kept:
            raise OSError(12, "no memory")
        return real(*args)

    monkeypatch.setattr(rooms_of.mmap, "mmap", scarce)
    assert len(rooms.take(3 * PAGE)) == 3 * PAGE


def test_a_forked_child_keeps_nothing_and_leaves_its_parent_alone(rooms):
    used, left = rooms.take(PAGE), rooms.take(PAGE)
    used[:5] = b"inuse"
    del left
    child = os.fork()
    if not child:
        code = 1
        try:
            assert rooms.kept == 0
            used[:5] = b"child"
            del used
            assert rooms.kept == 0
            rooms.take(PAGE)[:] = b"c" * PAGE
            assert rooms.kept == PAGE
            code = 0
        finally:
            os._exit(code)
    _pid, status = os.waitpid(child, 0)

    assert status == 0
    assert bytes(used[:5]) == b"inuse"
    assert rooms.kept == PAGE
