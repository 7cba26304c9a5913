"""The work that is hosted: as little as possible, so that the hosting is what is measured."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import agentd

__all__ = ["Busy", "Echo", "Heavy", "burn"]


def burn(loops: int) -> int:
    """Plain Python that holds the interpreter lock throughout."""
    x = 1
    for i in range(loops):
        x = (x * 1103515245 + 12345 + i) & 0x7FFFFFFF
    return x


class Echo(agentd.Agent):
    """Gives back what it gets."""

    def __init__(self) -> None:
        self.total = 0

    def echo(self, x: Any) -> Any:
        """The same."""
        return x

    def add(self, n: int) -> int:
        """The sum so far: tells whether state is kept."""
        self.total += n
        return self.total

    async def nap(self, seconds: float) -> float:
        """Sleep as an ``async def`` does."""
        await asyncio.sleep(seconds)
        return seconds

    def burn(self, loops: int) -> int:
        """Use the processor."""
        return burn(loops)

    def pid(self) -> int:
        """The worker."""
        return os.getpid()


class Busy(agentd.Agent):
    """Sleeps in its turn, so that one call runs at a time; and counts those that took time."""

    def __init__(self) -> None:
        self.done = 0

    def nap(self, seconds: float) -> float:
        """Take so long."""
        time.sleep(seconds)
        self.done += seconds > 0
        return seconds

    @agentd.readonly
    def count(self) -> int:
        """How many were done."""
        return self.done


class Heavy(agentd.Agent):
    """Its ``__init__`` takes time and leaves a line in a file, so that its runs can be counted."""

    def __init__(self, log: str, seconds: float) -> None:
        with open(log, "a", encoding="ascii") as file:  # noqa: PTH123 - one write, one line
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)

    def ready(self) -> bool:
        """The first answer."""
        return True
