"""One class, hosted in two ways, and when to use which.

Primes(n, to_dist=True)   the class and its arguments travel; built in a worker
Primes(n).to_dist()       the object travels, as it is now; built here
"""

from __future__ import annotations

import math
import os
import sqlite3
import sys
import tempfile
import time
from bisect import bisect_right
from itertools import compress
from pathlib import Path

import agentd

LIMIT = 10_000_000


class Primes(agentd.Agent):
    """All primes up to a limit: some work to find, quick to ask."""

    def __init__(self, limit: int, log: Path) -> None:
        with log.open("a") as file:  # so that we can count
            file.write(f"{os.getpid()}\n")
        sieve = bytearray([1]) * (limit + 1)
        sieve[:2] = b"\0\0"
        for n in range(2, math.isqrt(limit) + 1):
            if sieve[n]:
                sieve[n * n :: n] = bytes(len(range(n * n, limit + 1, n)))
        self.primes = list(compress(range(limit + 1), sieve))
        self.note = ""

    def count(self, up_to: int) -> int:
        return bisect_right(self.primes, up_to)


class Notebook(agentd.Agent):
    """Holds an open database, which can not be sent anywhere."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        self.db.execute("CREATE TABLE note (text TEXT)")

    def write(self, text: str) -> int:
        self.db.execute("INSERT INTO note VALUES (?)", (text,))
        return int(self.db.execute("SELECT count(*) FROM note").fetchone()[0])


def built_there(log: Path) -> None:
    print("Primes(n, to_dist=True), four of them:")
    start = time.monotonic()
    four = [Primes(LIMIT, log, to_dist=True) for _ in range(4)]
    print(f"  the calls returned after {time.monotonic() - start:.3f} s")
    counts = [primes.count(1_000_000) for primes in four]  # the first use waits until it is ready
    print(f"  answered after {time.monotonic() - start:.3f} s: {counts}")
    for primes in four:
        agentd.handle(primes).delete()  # or leave it: they end with this program


def built_here(log: Path) -> None:
    print("Primes(n).to_dist():")
    start = time.monotonic()
    primes = Primes(LIMIT, log)
    primes.note = "set before the move"
    print(f"  built here after {time.monotonic() - start:.3f} s")
    hosted = primes.to_dist()
    print(f"  moved after {time.monotonic() - start:.3f} s")
    print(f"  answered after {time.monotonic() - start:.3f} s: {hosted.count(1_000_000)}")
    print(f"  its state went along: {hosted.note!r}")
    hosted.note = "set in the daemon"
    print(f"  the object here is a copy now: {primes.note!r}, there: {hosted.note!r}")


def what_can_not_move() -> None:
    print("What can not travel is refused before anything is sent:")
    try:
        Notebook().to_dist()
    except agentd.errors.SerializationError as error:
        print(f"  {error}")
    notebook = Notebook(to_dist=True)  # built where it will live
    print(f"  Notebook(to_dist=True) holds {notebook.write('hello')} note")


def main() -> int:
    # connect() starts a daemon if there is none, so that this is not in the times below.
    try:
        with tempfile.TemporaryDirectory() as folder, agentd.connect():
            there, here = Path(folder, "there"), Path(folder, "here")
            built_there(there)
            built_here(here)
            what_can_not_move()
            print(f"This is process {os.getpid()}. __init__ of Primes ran in these processes:")
            print(f"  to_dist=True: {there.read_text().split()}")
            print(f"  .to_dist():   {here.read_text().split()}")
    except agentd.errors.AgentdError as error:
        print(f"two_paths: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
