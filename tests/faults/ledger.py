"""An agent that writes down what it was asked to do, so that nothing is done twice unseen."""

import ctypes
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentd


class Ledger(agentd.Agent):
    """Each call has an entry of its own, noted when it begins and, if it takes time, ends."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    def add(self, entry: Any) -> int:
        self.begun.append(entry)
        return len(self.begun)

    def slow(self, entry: Any, seconds: float) -> Any:
        self.begun.append(entry)
        time.sleep(seconds)
        self.ended.append(entry)
        return entry

    def tell(self, entry: Any, items: int, pause_s: float = 0.0) -> Iterator[int]:
        self.begun.append(entry)
        for number in range(items):
            time.sleep(pause_s)
            yield number
        self.ended.append(entry)

    def pid(self) -> int:
        return os.getpid()

    def reckon(self, entry: Any, started: str, enough: str) -> None:
        """Compute until the file ``enough`` is there, in code that keeps the GIL all the time."""
        self.begun.append(entry)
        is_there = ctypes.PyDLL(None).access
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1_000)
        try:
            Path(started).touch()
            while is_there(enough.encode(), os.F_OK):
                pass
        finally:
            sys.setswitchinterval(usual)

    def hang(self, lock: str) -> None:
        """Wait for a locked file in C code that keeps the GIL."""
        with Path(lock).open() as file:
            Path(f"{lock}.hangs").touch()
            ctypes.PyDLL(None).flock(file.fileno(), fcntl.LOCK_EX)
