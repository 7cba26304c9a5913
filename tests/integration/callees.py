"""Agents that are called in every way, and that call each other."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentd

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("MARK", default="unset")


class Heavy:
    """Notes each process in which one is rebuilt."""

    def __init__(self, folder: str, value: int = 0) -> None:
        self.folder = folder
        self.value = value

    def __reduce__(self) -> Any:
        return _rebuild, (self.folder, self.value)


def _rebuild(folder: str, value: int) -> Heavy:
    (Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return Heavy(folder, value)


def rebuilt_in(folder: Path) -> list[int]:
    """The processes in which a ``Heavy`` was rebuilt, one entry each time."""
    return [int(note.name.partition("-")[0]) for note in folder.iterdir()]


class Stubborn(Exception):
    """An error with more than a sentence."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stubborn {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return Stubborn, (self.code,)


@dataclasses.dataclass
class Parcel:
    content: Any
    more: Any = None


class Callee(agentd.Agent):
    """Does what its callers need."""

    def __init__(self, value: Any = 0) -> None:
        self.value = value
        self.log: list[Any] = []
        self.items = {"a": [1, 2]}
        self.gate = threading.Event()

    # -- plain work --------------------------------------------------------------------------------
    def add(self, n: int = 1) -> int:
        self.value += n
        return int(self.value)

    def echo(self, value: Any = None) -> Any:
        return value

    def note(self, what: Any) -> int:
        self.log.append(what)
        return len(self.log)

    def notes(self) -> list[Any]:
        return self.log

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def until(self, file: str) -> str:
        """Wait until the file is there."""
        until(file)
        return file

    def fail(self, code: int = 7) -> None:
        raise Stubborn(code)

    def die(self) -> None:
        os._exit(3)

    def pid(self) -> int:
        return os.getpid()

    def me(self) -> Callee:
        return self

    def heavy(self, folder: str, value: int) -> Heavy:
        return Heavy(folder, value)

    def weigh(self, heavy: Heavy) -> int:
        return heavy.value

    def blob(self, size: int) -> bytes:
        return bytes(size)

    def size(self, value: Any) -> int:
        return len(value)

    def scribble(self, value: Any) -> tuple[bytes, bytes]:
        """What was given, and what it is after it was changed here."""
        before = bytes(value)
        value[0] = ord("z")
        return before, bytes(value)

    def same(self, one: Any, other: Any) -> bool:
        return one is other

    def content(self, parcel: Parcel) -> Any:
        return parcel.content, parcel.more

    @agentd.async_func
    def later(self, value: Any) -> Any:
        return value

    @agentd.sync_func
    def __call__(self, value: Any = None) -> Any:
        return "called", value

    async def soon(self, value: Any, seconds: float = 0.0) -> Any:
        await asyncio.sleep(seconds)
        return value

    async def soon_fails(self, code: int) -> None:
        await asyncio.sleep(0)
        raise Stubborn(code)

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    # -- streams of others -------------------------------------------------------------------------
    def tells(self, other: Any, method: str, *args: Any) -> Iterator[Any]:
        yield getattr(other, method)(*args)

    def reads(self, other: Any, method: str, *args: Any) -> list[Any]:
        return list(getattr(other, method).stream(*args))

    async def reads_async(self, other: Any, method: str, *args: Any) -> list[Any]:
        return [item async for item in getattr(agentd.aio(other), method).stream(*args)]

    # -- context -----------------------------------------------------------------------------------
    def context(self) -> dict[str, Any]:
        return context()

    async def context_async(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return context()

    def contexts(self, *others: Any) -> list[dict[str, Any]]:
        """Along a chain: this one's, then those of the others, each called by the one before."""
        if not others:
            return [context()]
        return [context(), *others[0].contexts(*others[1:])]

    def until_cancelled(self, started: str) -> bool:
        Path(started).touch()
        call = agentd.current_call()
        assert call is not None
        deadline = time.monotonic() + 20
        try:
            while not call.cancelled and time.monotonic() < deadline:
                time.sleep(0.01)
        except agentd.errors.CallCancelled:
            Path(started + ".cancelled").write_text(str(call.cancelled))
            raise
        Path(started + ".cancelled").write_text(str(call.cancelled))
        return call.cancelled

    def mark(self, value: str) -> str:
        before = MARK.get()
        MARK.set(value)
        return before

    async def mark_async(self, value: str) -> list[str]:
        before = MARK.get()
        MARK.set(value)
        await asyncio.sleep(0.01)
        return [before, MARK.get()]

    # -- calls of others ---------------------------------------------------------------------------
    def ask(self, other: Any, method: str, *args: Any) -> Any:
        value = getattr(other or agentd.current_agent(), method)(*args)
        return value.result() if isinstance(value, agentd.AsyncResult) else value

    def ask_submit(self, other: Any, method: str, *args: Any) -> Any:
        return getattr(other or agentd.current_agent(), method).submit(*args).result()

    async def ask_await(self, other: Any, method: str, *args: Any) -> Any:
        return await getattr(agentd.aio(other or agentd.current_agent()), method)(*args)

    async def ask_submit_await(self, other: Any, method: str, *args: Any) -> Any:
        return await getattr(other or agentd.current_agent(), method).submit(*args)

    async def ask_gather(self, others: list[Any], method: str, *args: Any) -> list[Any]:
        return list(await asyncio.gather(*(getattr(agentd.aio(o), method)(*args) for o in others)))

    def ask_and_leave(self, other: Any, method: str, *args: Any) -> str:
        getattr(other, method).submit(*args)
        return "left"

    def ring(self, others: list[Any], left: int) -> int:
        """Call the next one, which calls the next one, …"""
        if not left:
            return 0
        return 1 + int(others[0].ring([*others[1:], others[0]], left - 1))

    def ask_with_result_of(
        self, worker: Any, user: Any, inner: str, *args: Any, submits: bool = False
    ) -> Any:
        """Have ``user`` use a result of ``worker``, which comes from a call back to this agent."""
        made = getattr(worker, inner).submit(agentd.current_agent(), *args)
        between = user.echo.submit(made)
        if submits:
            return user.echo.submit(between).result()
        return user.echo(between)

    def meet(self, mine: str, other_file: str, other: Any) -> Any:
        """Say that this call runs, wait until the other one does, then call that agent."""
        Path(mine).touch()
        until(other_file)
        return other.echo("met")


class Reentrant(Callee):
    """Calls back to it are its own business."""


def until(file: str) -> None:
    deadline = time.monotonic() + 25
    while not Path(file).exists():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.005)


def context() -> dict[str, Any]:
    call = agentd.current_call()
    assert call is not None
    return {
        "id": call.id,
        "caller": call.caller and call.caller.hex(),
        "left": call.time_left(),
        "deadline": call.deadline,
        "cancelled": call.cancelled,
        "trace": call.trace_id,
        "me": agentd.current_agent(),
    }


class Slow(Callee):
    """Its construction waits for a file."""

    def __init__(self, file: str, *, fail: bool = False) -> None:
        super().__init__()
        until(file)
        if fail:
            raise Stubborn(99)


class Crowded(agentd.Agent):
    """Knows who is inside."""

    def __init__(self) -> None:
        self.now: list[int] = []

    def stay(self, file: str) -> int:
        """Until the file is there; how many were inside at the most, as far as seen."""
        self.now.append(1)
        most = 0
        while not Path(file).exists():
            most = max(most, len(self.now))
            time.sleep(0.01)
        self.now.pop()
        return most

    @agentd.readonly
    def inside(self) -> list[int]:
        return self.now

    def crash(self) -> None:
        os._exit(3)
