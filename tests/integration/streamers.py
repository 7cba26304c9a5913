"""Agents that stream, wait, count and get interrupted."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import agentd
from agentd.errors import CallCancelled

LONG_S = 25.0


def until(file: str) -> None:
    deadline = time.monotonic() + LONG_S
    while not Path(file).exists():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.005)


class Streamer(agentd.Agent):
    """Yields, and notes how far it came and how it ended."""

    def __init__(self) -> None:
        self.made = 0
        self.log: list[str] = []

    def count(self, n: int, size: int = 0) -> Iterator[Any]:
        try:
            for number in range(n):
                self.made = number + 1
                yield (number, bytes(size)) if size else number
        finally:
            self.log.append("finally")

    def numbers(self, first: int, n: int) -> Iterator[int]:
        """Each stream has items of its own, so that one of another is seen."""
        yield from range(first, first + n)

    def data(self, n: int, size: int) -> Iterator[bytes]:
        """Bytes that nobody can keep as a reference to zeros."""
        for _ in range(n):
            yield os.urandom(size)

    async def acount(self, n: int) -> AsyncIterator[int]:
        try:
            for number in range(n):
                self.made = number + 1
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            self.log.append("finally")

    def gated(self, n: int, file: str, at: int, mark: str = "") -> Iterator[int]:
        """Item ``at`` comes when the file is there."""
        for number in range(n):
            if number == at:
                if mark:
                    Path(mark).touch()
                until(file)
            yield number

    def ends_badly(self, n: int) -> Iterator[int]:
        yield from range(n)
        raise LookupError("after", n)

    async def aends_badly(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise LookupError("after", n)

    def dies(self, n: int, file: str) -> Iterator[int]:
        yield from range(n)
        until(file)
        os._exit(7)

    def refuses_to_travel(self) -> Iterator[Any]:
        yield 1
        yield threading.Lock()

    def nothing(self) -> Iterator[int]:
        yield from ()

    def notes(self) -> list[str]:
        return self.log

    @agentd.readonly
    def so_far(self) -> int:
        return self.made

    def ping(self) -> str:
        return "pong"

    def relays(self, other: Any, n: int) -> Iterator[int]:
        """A stream made of another agent's stream."""
        for item in other.count(n):
            yield item * 2


class Worker(agentd.Agent):
    """Works until it is told that a file is there, or to stop."""

    def __init__(self, slow: str = "") -> None:
        if slow:
            until(slow)
        self.started: list[str] = []
        self.ended: list[str] = []
        self.value = 0

    def add(self) -> int:
        self.value += 1
        return self.value

    def state(self) -> tuple[list[str], list[str]]:
        return self.started, self.ended

    @agentd.readonly
    def peek(self) -> list[str]:
        return self.started

    def spin(self, name: str, mark: str = "") -> str:
        """Python code for long."""
        try:
            self._begins(name, mark)  # from here on somebody may cancel it
            deadline = time.monotonic() + LONG_S
            while time.monotonic() < deadline:
                pass
        except CallCancelled:
            call = agentd.current_call()
            self.ended.append(f"{name} CallCancelled {call is not None and call.cancelled}")
            raise
        return name

    def looks(self, name: str, mark: str = "") -> str:
        """Looks itself whether it is wanted, out of reach of an exception until then."""
        call = agentd.current_call()
        assert call is not None
        try:
            self._begins(name, mark)
            deadline = time.monotonic() + LONG_S
            while not call.cancelled and time.monotonic() < deadline:
                time.sleep(0.005)
        except CallCancelled:
            pass
        self.ended.append(f"{name} {call.cancelled}")
        return name

    async def naps(self, name: str, mark: str = "") -> str:
        self._begins(name, mark)
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            call = agentd.current_call()
            self.ended.append(f"{name} CancelledError {call is not None and call.cancelled}")
            raise
        return name

    def waits(self, file: str, mark: str = "") -> str:
        self._begins("waits", mark)
        until(file)
        return "waited"

    def sleep(self, seconds: float, mark: str = "") -> float:
        self._begins("sleep", mark)
        time.sleep(seconds)
        return seconds

    async def asleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    def ask(self, other: Any, method: str, *args: Any) -> Any:
        self.started.append(f"ask {method}")
        try:
            return getattr(other, method)(*args)
        except BaseException as error:
            self.ended.append(f"ask {type(error).__name__}")
            raise

    def reads(self, other: Any, method: str, *args: Any) -> list[Any]:
        self.started.append(f"reads {method}")
        try:
            return list(getattr(other, method)(*args))
        except BaseException as error:
            self.ended.append(f"reads {type(error).__name__}")
            raise

    async def ask_async(self, other: Any, method: str, *args: Any) -> Any:
        self.started.append(f"ask {method}")
        try:
            return await getattr(agentd.aio(other), method)(*args)
        except BaseException as error:
            self.ended.append(f"ask {type(error).__name__}")
            raise

    def time_left(self) -> float | None:
        call = agentd.current_call()
        assert call is not None
        return call.time_left()

    def _begins(self, name: str, mark: str) -> None:
        self.started.append(name)
        if mark:
            Path(mark).touch()

    def __len__(self) -> int:
        return len(self.started)


class Turner(agentd.Agent):
    """Notes who is inside together with whom."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.order: list[str] = []

    async def steps(self, name: str, n: int = 5) -> None:
        self._enter()
        for _ in range(n):
            self.order.append(name)
            await asyncio.sleep(0)
        self.inside -= 1

    def meets(self, here: str, others: int) -> int:
        """Return as soon as that many are inside at once."""
        Path(here, str(threading.get_ident())).touch()
        deadline = time.monotonic() + LONG_S
        while len(list(Path(here).iterdir())) < others:
            assert time.monotonic() < deadline, "the others never came"
            time.sleep(0.005)
        return others

    async def meets_async(self, others: int) -> int:
        self._enter()
        deadline = time.monotonic() + LONG_S
        while self.most < others:
            assert time.monotonic() < deadline, "the others never came"
            await asyncio.sleep(0.005)
        self.inside -= 1
        return self.most

    def waits(self, file: str, mark: str = "") -> str:
        if mark:
            Path(mark).touch()
        until(file)
        self.order.append("waited")
        return "waited"

    async def waits_async(self, file: str, mark: str = "") -> str:
        if mark:
            Path(mark).touch()
        while not Path(file).exists():
            await asyncio.sleep(0.005)
        return "waited"

    def say(self, name: str) -> str:
        self.order.append(name)
        return name

    @agentd.readonly
    def look(self) -> list[str]:
        return self.order

    @agentd.readonly
    async def look_async(self) -> list[str]:
        return self.order

    def _enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)


class Flaky(agentd.Agent):
    """Dies or fails as often as a folder has no note of it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _attempt(self) -> int:
        name = Path(self.folder, f"{time.monotonic_ns()}")
        name.touch()
        return len(list(Path(self.folder).iterdir()))

    def dies(self, times: int) -> int:
        attempt = self._attempt()
        if attempt <= times:
            os._exit(9)
        return attempt

    @agentd.idempotent
    def dies_idempotent(self, times: int) -> int:
        return self.dies(times)

    @agentd.idempotent
    def fails(self) -> None:
        raise ValueError(self._attempt())

    def waits(self, file: str, mark: str = "") -> str:
        if mark:
            Path(mark).touch()
        until(file)
        return "waited"

    def once(self) -> int:
        return self._attempt()
