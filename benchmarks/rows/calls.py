"""Small calls: one after the other, many in flight, from several processes, from asyncio."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

from benchmarks.child import command
from benchmarks.contestants import Call, Contestant
from benchmarks.goals import FLOOR, at_least, at_most
from benchmarks.rows.row import Plan, Row, Values, less, more
from benchmarks.stats import percentile
from benchmarks.system import Snapshot, usage

__all__ = ["AIO", "BLOCKING", "CLIENTS", "PIPELINED", "Clients", "client"]

WINDOW = 256


def check(right: bool, what: str) -> None:  # noqa: FBT001 - check(x == y, ...)
    """A fast wrong answer is worth nothing."""
    if not right:
        raise AssertionError(f"wrong answer: {what}")


# -- one after the other ---------------------------------------------------------------------------
def latencies(one: Contestant, agent: Any, count: int) -> list[float]:
    """Seconds of each blocking call."""
    call, clock = one.call, time.perf_counter
    found = []
    for _ in range(count):
        began = clock()
        call(agent, "echo", "hello")
        found.append(clock() - began)
    return found


def spent(one: Contestant) -> Snapshot:
    """What client and servers have used until now."""
    return usage([os.getpid(), *one.servers()])


def cpu_us(one: Contestant, before: Snapshot, calls: float) -> float:
    """Microseconds of processor time a call, of client and servers together.

    Unlike the clock it hardly shows what else runs on the machine.
    """
    return spent(one).since(before).cpu_s / calls * 1e6


CPU_US = less("cpu_us", "processor time, both sides, of such a call", "µs")


def _blocking(one: Contestant, plan: Plan) -> Values:
    [agent] = one.create(1)
    latencies(one, agent, plan.of(50, 500))
    before = spent(one)
    found = latencies(one, agent, plan.of(200, 5000))
    cpu = cpu_us(one, before, len(found))
    check(one.call(agent, "echo", "hello") == "hello", "echo")
    return {
        "p50_us": percentile(found, 0.5) * 1e6,
        "p99_us": percentile(found, 0.99) * 1e6,
        "cpu_us": cpu,
    }


BLOCKING = Row(
    "call",
    "a blocking call of a method that does nothing",
    (
        less(
            "p50_us",
            "blocking call, p50",
            "µs",
            goals=(at_most(1.25, of=FLOOR), at_most(219, "Pyro5")),
            peer="Pyro5 219",
        ),
        less(
            "p99_us",
            "blocking call, p99",
            "µs",
            goals=(at_most(1.5, of=FLOOR),),
            peer="Pyro5 313",
        ),
        CPU_US,
    ),
    _blocking,
)


# -- many in flight --------------------------------------------------------------------------------
def timed_calls(agent: Any, seconds: float) -> Iterator[Call]:
    """Calls to be made, for so long."""
    ends = time.perf_counter() + seconds
    for i in itertools.count():
        if i % 64 == 0 and time.perf_counter() >= ends:
            return
        yield (agent, "echo", (i,))


def count_calls(one: Contestant, agent: Any, seconds: float) -> int:
    """How many calls are done in that time with a window of them in flight; checks each answer."""
    count = 0
    for count, answer in enumerate(one.call_many(timed_calls(agent, seconds), WINDOW), 1):
        if answer != count - 1:
            raise AssertionError(f"wrong answer: echo {count} of many")
    return count


def rate(one: Contestant, agent: Any, seconds: float) -> float:
    """The same, a second."""
    began = time.perf_counter()
    return count_calls(one, agent, seconds) / (time.perf_counter() - began)


def _pipelined(one: Contestant, plan: Plan) -> Values:
    [agent] = one.create(1)
    rate(one, agent, plan.of(0.05, 0.3))
    before, began = spent(one), time.perf_counter()
    count = count_calls(one, agent, plan.of(0.1, 2.0))
    took = time.perf_counter() - began
    return {"calls_per_s": count / took, "cpu_us": cpu_us(one, before, count)}


PIPELINED = Row(
    "pipelined",
    "256 calls in flight, of one agent",
    (
        more(
            "calls_per_s",
            "pipelined calls",
            "/s",
            goals=(at_least(0.7, of=FLOOR), at_least(1.5 * 16_352, "1.5 × rpyc")),
            peer="rpyc 16,352",
        ),
        CPU_US,
    ),
    _pipelined,
)


# -- several client processes ----------------------------------------------------------------------
def client(one: Contestant, address: list[Any], seconds: float) -> None:
    """One of the client processes: says when it is ready, waits for a line, tells its rate."""
    agent = one.join(address)
    rate(one, agent, seconds / 4)
    print("READY", flush=True)
    sys.stdin.readline()
    print(rate(one, agent, seconds), flush=True)


class Clients:
    """Client processes, each with an agent of its own, that wait to be let go all at once."""

    def __init__(self, one: Contestant, addresses: list[list[Any]], seconds: float) -> None:
        self._processes = [
            subprocess.Popen(
                command("client", {"contestant": one.name, "address": address, "seconds": seconds}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for address in addresses
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            assert process.stdout is not None
            check(process.stdout.readline() == "READY\n", "a client process did not start")
        return self

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def go(self) -> None:
        """Let them call."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def per_s(self) -> float:
        """Calls a second of all of them, once they are done."""
        return sum(
            float(process.stdout.readline()) for process in self._processes if process.stdout
        )

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()


def together(one: Contestant, addresses: list[list[Any]], seconds: float) -> float:
    """Calls a second of that many client processes, all at the same time."""
    with Clients(one, addresses, seconds) as clients:
        clients.go()
        return clients.per_s()


def _clients(one: Contestant, plan: Plan) -> Values:
    addresses = one.spread(4)
    seconds = plan.of(0.1, 1.5)
    alone = together(one, addresses[:1], seconds)
    four = together(one, addresses, seconds)
    return {"one_per_s": alone, "four_per_s": four, "gain": four / alone}


CLIENTS = Row(
    "clients",
    "four client processes on four agents, against one on one",
    (
        more("one_per_s", "one client process on one agent", "/s"),
        more("four_per_s", "four client processes on four agents", "/s"),
        more("gain", "four on four against one on one", "×", 2, (at_least(1.6),)),
    ),
    _clients,
)


# -- asyncio ---------------------------------------------------------------------------------------
def _aio(one: Contestant, plan: Plan) -> Values:
    import agentd

    [agent] = one.create(1)
    aio: Any = agentd.aio(agent)

    async def caller(numbers: Iterator[int], ends: float) -> int:
        done = 0
        for i in numbers:
            if time.perf_counter() >= ends:
                break
            if await aio.echo(i) != i:
                raise AssertionError("wrong answer: an awaited echo")
            done += 1
        return done

    async def run(seconds: float) -> Values:
        before, began = spent(one), time.perf_counter()
        numbers = itertools.count()
        callers = [caller(numbers, began + seconds) for _ in range(WINDOW)]
        done = sum(await asyncio.gather(*callers))
        took = time.perf_counter() - began
        return {"calls_per_s": done / took, "cpu_us": cpu_us(one, before, done)}

    async def both() -> Values:
        await run(plan.of(0.05, 0.3))
        return await run(plan.of(0.1, 2.0))

    return asyncio.run(both())


AIO = Row(
    "aio",
    "256 coroutines that await calls of one agent",
    (
        more(
            "calls_per_s",
            "asyncio pipelined calls",
            "/s",
            goals=(at_least(2 * 6_625, "2 × xoscar"),),
            peer="xoscar 6,625",
        ),
        CPU_US,
    ),
    _aio,
    contestants=("agentd",),
)
