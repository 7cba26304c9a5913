"""Agents that come to harm."""

import ctypes
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentd


class Victim(agentd.Agent):
    """Counts, and dies in many ways."""

    def __init__(self, start: int = 0, init_s: float = 0.0) -> None:
        self.value = start
        self.small: list[bytes] = []
        time.sleep(init_s)

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def slow(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def waits(self, file: str, size: int = 0) -> bytes:
        """Bytes, once the file is there; that it runs is told by another one."""
        Path(f"{file}.runs").touch()
        while not Path(file).exists():
            time.sleep(0.005)
        return bytes(size)

    @agentd.readonly
    def peek(self) -> int:
        return self.value

    def big(self, size: int) -> bytes:
        return b"x" * size  # zeros would take no memory before somebody writes to it

    def big_below_small(self, size: int) -> bytes:
        """As above, and something small stays behind it in the same arena of the C library."""
        bytes(31 << 20)  # from then on what is shorter comes from arenas: see mallopt(3)
        value = self.big(size)
        self.small.append(bytes(100_000))
        return value

    def echo(self, value: Any) -> Any:
        return value

    def weigh(self, data: bytes) -> int:
        return len(data)

    def leave(self, code: int) -> None:
        print("last words", file=sys.stderr)
        os._exit(code)

    def segfault(self) -> None:
        ctypes.string_at(0)

    def kill(self, number: int = signal.SIGKILL) -> None:
        print("no end of line", end="", file=sys.stderr, flush=True)
        os.kill(os.getpid(), number)

    def hoard(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600_000_000, resource.RLIM_INFINITY))
        raise MemoryError if bytearray(2_000_000_000) else None

    def hold_interpreter(self) -> None:
        """C code that keeps the GIL for years."""
        re.match(r"(a+)+$", "a" * 64 + "b")

    def work_in_c(self, seconds: float) -> float:
        """C code that keeps the GIL while it works, for about so long; how long it was.

        A piece of it is timed first; the quickest of several counts, as others may use the
        processor, too.
        """
        began, size = time.perf_counter(), 1_000_000
        while (took := _without_bytecode(size)) < 0.05:
            size *= 2
        took = min(took, *(_without_bytecode(size) for _ in range(5)))
        _without_bytecode(int(size * seconds / took))
        return time.perf_counter() - began

    def hang_in_c(self, seconds: int) -> None:
        """C code that keeps the GIL and does nothing: the loop of its worker hangs."""
        ctypes.PyDLL(None).sleep(seconds)

    def start_process(self) -> int:
        return subprocess.Popen(["sleep", "1000"]).pid

    def start_noise(self) -> None:
        """A process out of this one's group, which prints where this one does."""
        subprocess.Popen(["timeout", "20", "yes", "noise"], start_new_session=True)

    def count(self, items: int) -> Iterator[int]:
        self.value += 100
        yield from range(items)

    def say(self, lines: int, text: str = "line") -> None:
        for number in range(lines):
            print(text, number)


def _without_bytecode(size: int) -> float:
    began = time.perf_counter()
    sum(itertools.repeat(0, size))
    return time.perf_counter() - began


class DiesInInit(agentd.Agent):
    """Its worker dies while it is built: always, or only the first time (``once``: a file)."""

    def __init__(self, once: str = "") -> None:
        if not once or not Path(once).exists():
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.alive = True


class Maker(agentd.Agent):
    """Makes another agent, which ends with it."""

    def __init__(self) -> None:
        self.made: Any = None

    def make(self) -> Any:
        self.made = Victim(to_dist=True)
        self.made.add()
        return self.made

    def leave(self) -> None:
        os._exit(3)
