"""The blocks that one connection sends by."""

import os
import time

import pytest

from agentd.transport import pool as pools
from agentd.transport.blocks import HEAD, Mapped
from agentd.transport.kept import keep, limit
from agentd.transport.pool import MOST_BLOCKS, Budget, Pool

MIB = 1024 * 1024


@pytest.fixture
def keeps():
    before = limit()
    yield keep
    keep(before)


@pytest.fixture
def budget():
    return Budget()


@pytest.fixture
def pool(budget):
    made = Pool(budget)
    yield made
    made.close()


def grown(pool, blocks=1):
    """Have the peer take so many blocks."""
    held = []
    for _ in range(blocks):
        offered = pool.offer()
        assert pool.answered(offered.number, taken=True)
        held.append(pool.take(1))
    for block in held:
        block.give_back()
    return held


def on_disk(block):
    """Bytes of memory that it takes."""
    return os.fstat(block.fileno()).st_blocks * 512


def test_there_is_none_before_the_peer_has_taken_one(pool):
    assert pool.take(MIB) is None
    offered = pool.offer()
    assert pool.take(MIB) is None
    assert pool.offer() is None  # one after the other
    assert pool.answered(offered.number, taken=True)

    assert pool.take(MIB) is offered


def test_one_in_use_is_not_taken_again_until_it_is_given_back(pool):
    [block] = grown(pool)
    assert pool.take(MIB) is block
    block.fill([memoryview(bytes(MIB))])
    assert pool.take(MIB) is None

    mapped = Mapped(os.dup(block.fileno()), block.size)
    mapped.give_back()
    mapped.close()

    assert pool.take(MIB) is block


def test_who_refuses_is_not_asked_again(pool, budget):
    offered = pool.offer()
    assert pool.answered(offered.number, taken=False)

    assert pool.offer() is None
    assert budget.blocks == 0


def test_an_answer_to_nothing_is_told(pool):
    assert not pool.answered(0, taken=True)
    offered = pool.offer()
    assert not pool.answered(offered.number + 1, taken=True)


def test_no_more_blocks_than_a_peer_takes(pool):
    held = []
    for _ in range(MOST_BLOCKS):
        offered = pool.offer()
        pool.answered(offered.number, taken=True)
        held.append(pool.take(1))
    assert pool.offer() is None
    assert len({block.number for block in held}) == MOST_BLOCKS


def test_no_more_blocks_than_a_process_may_have(pool, budget, monkeypatch):
    monkeypatch.setattr(pools, "OF_ALL", 1)
    other = Pool(budget)
    assert pool.offer() is not None
    assert other.offer() is None
    pool.withdraw()
    assert other.offer() is not None
    other.close()


def test_the_memory_of_all_is_bounded(pool, budget, keeps):
    keeps(10 * MIB)
    [block] = grown(pool)
    other = Pool(budget)
    [foreign] = grown(other)
    used = pool.take(7 * MIB)
    assert used is block

    assert other.take(4 * MIB) is None
    assert other.take(2 * MIB) is foreign
    assert budget.used <= 10 * MIB
    other.close()


def test_a_longer_message_than_is_kept_goes_without(pool, keeps):
    keeps(4 * MIB)
    grown(pool)
    assert pool.take(4 * MIB + 1) is None
    assert pool.offer() is None


def test_a_free_one_gives_its_memory_for_another(pool, budget, keeps):
    keeps(10 * MIB)
    one, other = grown(pool, 2)
    for block in (one, other):
        assert pool.take(4 * MIB) is not None
        block.fill([memoryview(bytes(4 * MIB))])
    one.give_back()
    other.give_back()

    found = pool.take(9 * MIB)
    assert found is not None
    found.fill([memoryview(bytes(9 * MIB))])
    assert budget.used <= 10 * MIB
    assert on_disk(one) + on_disk(other) <= 10 * MIB + 2 * HEAD


def test_a_block_keeps_what_it_is_filled_with(pool):
    [block] = grown(pool)
    mapped = Mapped(os.dup(block.fileno()), block.size)
    for size in (3 * MIB, MIB, 5 * MIB + 1, 10):  # cold, warm, half of each
        content = os.urandom(size)
        assert pool.take(2 * size) is block
        block.fill([memoryview(content), memoryview(content)])
        room = bytearray(size)
        mapped.read(size, memoryview(room))
        assert room == content
        mapped.give_back()
    mapped.close()


def test_what_is_idle_takes_no_memory_and_can_be_used_again(pool, budget):
    [block] = grown(pool)
    assert pool.take(2 * MIB) is block
    block.fill([memoryview(b"x" * 2 * MIB)])
    assert pool.let_go(time.monotonic() + 1)  # not yet read
    assert on_disk(block) >= 2 * MIB
    block.give_back()
    assert pool.let_go(time.monotonic() - 60)  # used just now

    assert not pool.let_go(time.monotonic() + 1)
    assert on_disk(block) <= HEAD
    assert budget.used == 0
    assert pool.take(2 * MIB) is block
    block.fill([memoryview(b"y" * 2 * MIB)])
    assert on_disk(block) >= 2 * MIB


def test_a_closed_pool_leaves_what_is_yet_to_be_read(pool, budget):
    [block] = grown(pool)
    assert pool.take(MIB) is block
    block.fill([memoryview(b"x" * MIB)])
    mapped = Mapped(os.dup(block.fileno()), block.size)
    pool.close()

    room = bytearray(MIB)
    mapped.read(0, memoryview(room))
    assert room == b"x" * MIB
    assert (budget.used, budget.blocks) == (0, 0)
    assert pool.take(1) is None
    assert pool.offer() is None
    mapped.close()


def test_a_forked_child_does_not_touch_them(pool):
    [block] = grown(pool)
    assert pool.take(MIB) is block
    block.fill([memoryview(b"x" * MIB)])
    block.give_back()
    child = os.fork()
    if not child:
        code = 1
        try:
            pool.close()
            assert pool.take(1) is None
            code = 0
        finally:
            os._exit(code)
    _pid, status = os.waitpid(child, 0)

    assert status == 0
    assert os.pread(block.fileno(), 3, HEAD) == b"xxx"


def test_where_the_system_has_none_nothing_is_offered(pool, budget, monkeypatch):
    def none(*_args):
        raise OSError(24, "too many open files")

    monkeypatch.setattr(os, "memfd_create", none)
    assert pool.offer() is None
    assert budget.blocks == 0
