"""The blocks of shared memory that one connection sends by, and what all of a process may take.

Blocks are used again: their pages are there already, and mapped on both sides. What nobody needed
for some seconds takes no memory any more.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from typing import Final

from agentd.transport.blocks import MOST, Block
from agentd.transport.idle import tend
from agentd.transport.kept import limit

__all__ = ["MOST_BLOCKS", "Budget", "Pool", "budget"]

MOST_BLOCKS: Final = 8
"""Of one connection: messages that may be on their way in shared memory."""
OF_ALL: Final = 256
"""Of a process, in each direction, and not more than a sixteenth of its descriptors."""
FILES_EACH: Final = 16


class Budget:
    """What the blocks of a process take together. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the next two
        self.used = 0
        """Bytes of memory."""
        self.blocks = 0

    def grow(self, by: int) -> bool:
        """Take so many bytes; whether there were."""
        with self._lock:
            fits = self.used + by <= limit()
            if fits:
                self.used += by
        return fits

    def shrink(self, by: int) -> None:
        """So many bytes are free again."""
        with self._lock:
            self.used -= by

    def one_more(self) -> bool:
        """Take a block; whether there was one."""
        files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = min(OF_ALL, OF_ALL if files < 0 else files // FILES_EACH)
        with self._lock:
            fits = self.blocks < most
            if fits:
                self.blocks += 1
        return fits

    def one_less(self) -> None:
        """A block was closed."""
        with self._lock:
            self.blocks = max(0, self.blocks - 1)  # in a forked child they are not counted


budget: Final = Budget()
"""Of this process, for what it sends."""
os.register_at_fork(after_in_child=budget.__init__)  # type: ignore[misc]


class Pool:
    """The blocks of one connection. From any thread."""

    def __init__(self, of_all: Budget = budget) -> None:
        self._budget = of_all
        self._lock = threading.Lock()  # protects the blocks
        self._blocks: list[Block] = []
        self._numbers = 0
        self._awaited: Block | None = None
        """Offered, and not answered yet."""
        self._refused = False
        self._pid = os.getpid()

    def take(self, size: int) -> Block | None:
        """A block to fill with so many bytes; ``None`` if there is none, or too little memory."""
        with self._lock:
            free = [b for b in self._blocks if b.taken and size <= b.size and b.free]
            if not free:
                return None
            fit = [block for block in free if block.charged >= size]
            if fit:
                found = min(fit, key=lambda block: block.charged)
            else:
                found = max(free, key=lambda block: block.charged)
                if not self._grow(found, size - found.charged, free):
                    return None
                found.charged = size
            found.reserve()
        tend(self)
        return found

    def _grow(self, block: Block, by: int, free: list[Block]) -> bool:
        """Memory for it; those that are free give theirs if it must be."""
        if self._budget.grow(by):
            return True
        for other in free:
            if other is not block:
                self._empty(other)
        return self._budget.grow(by)

    def failed(self, block: Block) -> None:
        """The system had no memory to fill it with."""
        with self._lock:
            self._empty(block)
            block.give_back()

    def offer(self) -> Block | None:
        """One more block, to be offered to the peer; ``None`` if another would be of no use."""
        with self._lock:
            size = min(MOST, limit())
            if self._refused or self._awaited or len(self._blocks) >= MOST_BLOCKS or not size:
                return None
            if any(block.taken and block.free for block in self._blocks):
                return None  # what was too long for that one, or for the budget, is so for another
            if not self._budget.one_more():
                return None
            try:
                block = Block(self._numbers, size)
            except OSError:
                self._budget.one_less()
                return None
            self._numbers += 1
            self._awaited = block
            return block

    def answered(self, number: int, *, taken: bool) -> bool:
        """The peer has it, or does not want it, nor others; False if it was not offered."""
        with self._lock:
            block = self._awaited
            if block is None or block.number != number:
                return False
            self._awaited = None
            if taken:
                block.taken = True
                self._blocks.append(block)
            else:
                self._refused = True
                self._drop(block)
        return True

    def withdraw(self) -> None:
        """What was to be offered did not leave."""
        with self._lock:
            if self._awaited is not None:
                self._drop(self._awaited)
                self._awaited = None

    def _drop(self, block: Block) -> None:
        block.close()
        self._budget.one_less()

    def _empty(self, block: Block) -> None:
        with contextlib.suppress(OSError):  # it keeps its memory
            block.empty()
            self._budget.shrink(block.charged)
            block.charged = 0

    def let_go(self, before: float) -> bool:
        """Empty those that were not used since; whether others are not empty."""
        with self._lock:
            for block in self._blocks:
                if block.charged and block.used < before and block.free:
                    self._empty(block)
            return any(block.charged for block in self._blocks)

    def forget(self) -> None:
        """In a forked child: they are the parent's, which goes on using them."""
        self._lock = threading.Lock()
        self._refused = True
        blocks = [*self._blocks, *([self._awaited] if self._awaited else [])]
        self._blocks, self._awaited = [], None
        for block in blocks:
            with contextlib.suppress(BufferError):  # a thread of the parent was filling it
                block.close()

    def close(self) -> None:
        """The connection has ended. What the peer has still to read stays until it has."""
        if self._pid != os.getpid():
            self.forget()
            return
        with self._lock:
            for block in self._blocks:
                if block.free:
                    self._empty(block)
                self._budget.shrink(block.charged)
                self._drop(block)
            self._blocks = []
            self._refused = True
            if self._awaited is not None:
                self._drop(self._awaited)
                self._awaited = None
