"""A big value stays where it was made until somebody asks for it."""

import asyncio
import os
import pickle
import signal
from concurrent.futures import as_completed
from typing import Any

import pytest

import agentd
from agentd.client.link import Link
from agentd.errors import AgentCrashed
from tests.integration.streamers import until

MIB = 1024 * 1024


class Makes(agentd.Agent):
    def big(self, size: int) -> bytes:
        return b"x" * size

    def measure(self, value: Any) -> int:
        return len(value)

    def twice(self, value: Any) -> Any:
        return value + value

    def after(self, file: str, value: Any) -> Any:
        until(file)
        return value

    def pid(self) -> int:
        return os.getpid()

    @agentd.readonly
    def peek(self) -> None:
        """Does not wait for the calls before it."""


@pytest.fixture
def received(monkeypatch):
    """``received()``: bytes of payload that came to this process so far."""
    total = 0
    take = Link._take

    def counting(self, frames, settled):
        nonlocal total
        total += sum(len(memoryview(frame)) for frame in frames[1:])
        take(self, frames, settled)

    monkeypatch.setattr(Link, "_take", counting)
    return lambda: total


@pytest.fixture
def pair(hosted):
    return hosted(Makes, worker="dedicated"), hosted(Makes, worker="dedicated")


def test_a_value_that_is_handed_on_does_not_pass_through_the_client(pair, received):
    one, other = pair
    first = one.big.submit(8 * MIB)
    second = other.twice.submit(first)

    assert one.measure(second) == 16 * MIB
    assert received() < MIB


@pytest.mark.parametrize("form", ["handed on", "nested", "pickled", "asyncio"])
def test_a_small_value_that_is_handed_on_before_it_is_there_does_not_either(
    pair, received, tmp_path, form
):
    one, other = pair
    go, value = tmp_path / "go", b"x" * 50_000
    source = agentd.aio(one) if form == "asyncio" else one
    first = source.after.submit(str(go), value)
    if form == "pickled":
        pickle.dumps(first)
    given = [{"in": first}] if form == "nested" else first
    second = other.measure.submit(given)
    third = other.twice.submit(second)
    one.peek()  # after what was said of the first
    go.touch()

    assert third.result() == 2 * (1 if form == "nested" else len(value))
    assert received() < 1000
    assert first.result() == value  # it comes when it is asked for after all
    assert received() > len(value)


def test_one_that_somebody_here_waits_for_comes_at_once(pair, received, tmp_path):
    one, other = pair
    go = tmp_path / "go"
    first = one.after.submit(str(go), b"x" * 50_000)
    with pytest.raises(TimeoutError):
        first.result(timeout=0)
    second = other.measure.submit(first)
    one.peek()
    go.touch()

    assert second.result() == 50_000
    one.pid()  # after it
    came = received()
    assert len(first.result()) == 50_000
    assert received() == came


def test_an_error_of_a_value_that_is_handed_on_comes_at_once(pair, tmp_path):
    one, other = pair
    go = tmp_path / "go"
    first = one.after.submit(str(go), 1, "too many")
    second = other.measure.submit(first)
    for result in (first, second):
        with pytest.raises(TypeError):
            result.result()


def test_it_comes_when_it_is_asked_for(pair, received):
    result = pair[0].big.submit(8 * MIB)
    assert result.exception() is None
    assert result.result() == b"x" * 8 * MIB
    assert result.result(timeout=0) == b"x" * 8 * MIB
    assert received() < 9 * MIB


def test_a_timeout_counts_for_the_call_not_for_the_way_of_its_value(pair):
    result = pair[0].big.submit(32 * MIB)
    pair[0].pid()  # after it
    assert len(result.result(timeout=0)) == 32 * MIB


def test_a_small_value_comes_at_once(pair, received):
    result = pair[0].big.submit(1000)
    pair[0].pid()
    before = received()
    assert len(result.result()) == 1000
    assert received() == before


def test_more_than_is_kept_comes_at_once_and_none_is_lost(pair):
    results = [pair[0].big.submit(16 * MIB) for _ in range(24)]
    assert [len(result.result()) for result in results] == [16 * MIB] * 24


def test_the_tools_of_futures(pair):
    results = [agent.big.submit(2 * MIB) for agent in pair for _ in range(3)]
    assert [len(done.result()) for done in as_completed(results)] == [2 * MIB] * 6


def test_awaited(pair):
    async def both():
        submitted = agentd.aio(pair[0]).big.submit(2 * MIB)
        return len(await submitted), len(await agentd.aio(pair[1]).big(3 * MIB))

    assert asyncio.run(both()) == (2 * MIB, 3 * MIB)


def test_many_threads_ask_for_one(pair):
    from concurrent.futures import ThreadPoolExecutor

    result = pair[0].big.submit(4 * MIB)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: len(result.result()), range(8)))
    assert sizes == [4 * MIB] * 8


def test_a_value_that_died_with_its_worker_is_told(pair):
    one = pair[0]
    pid = one.pid()
    result = one.big.submit(4 * MIB)
    one.pid()
    assert result.done()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(AgentCrashed):
        result.result()
