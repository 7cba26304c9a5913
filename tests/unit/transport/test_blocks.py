"""A block is mapped while its peer reads: what is written to it next meets no fault."""

import contextlib
import mmap
import os
import resource

import pytest

from agentd.transport import blocks
from agentd.transport.blocks import Block, Mapped

MIB = 1024 * 1024
SIZE = 8 * MIB
PAGES = SIZE // mmap.PAGESIZE


@pytest.fixture
def block():
    with contextlib.closing(Block(0, SIZE)) as made:
        yield made


def faults_to_fill(block, content):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    block.fill([memoryview(content)])
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def read(block, size):
    with contextlib.closing(Mapped(os.dup(block.fileno()), block.size)) as mapped:
        room = bytearray(size)
        mapped.read(0, memoryview(room))
        return bytes(room)


def test_what_was_settled_is_written_without_faults(block):
    content = os.urandom(SIZE)
    block.fill([memoryview(content)])
    block.settle()
    assert faults_to_fill(block, content[::-1]) < PAGES // 10
    assert read(block, SIZE) == content[::-1]


def test_what_was_not_settled_is_not(block):
    content = os.urandom(SIZE)
    block.fill([memoryview(content)])
    assert faults_to_fill(block, content) >= PAGES // 10


@pytest.mark.parametrize("first", [1, mmap.PAGESIZE - 1, mmap.PAGESIZE + 1, 3 * MIB + 5])
def test_what_is_longer_than_the_last_is_settled_as_well(block, first):
    content = os.urandom(SIZE)
    for size in (first, SIZE):
        block.fill([memoryview(content)[:size]])
        block.settle()
        assert read(block, size) == content[:size]
    assert faults_to_fill(block, content) < PAGES // 10


def test_nothing_takes_memory_by_being_settled(block):
    block.fill([memoryview(os.urandom(MIB))])
    before = os.fstat(block.fileno()).st_blocks
    block.settle()
    assert os.fstat(block.fileno()).st_blocks == before
    block.empty()
    block.settle()
    assert os.fstat(block.fileno()).st_blocks * 512 < MIB // 2


def test_where_the_system_cannot_it_is_written_page_by_page(block, monkeypatch):
    monkeypatch.setattr(blocks, "MADV_POPULATE_WRITE", 99)
    content = os.urandom(SIZE)
    for _ in range(2):
        block.fill([memoryview(content)])
        block.settle()
    assert read(block, SIZE) == content
