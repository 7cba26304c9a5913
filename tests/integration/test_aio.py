"""The same agents for asyncio."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import agentd
from agentd.errors import CallTimeout, ConfigError
from tests.integration.callees import Callee, Stubborn
from tests.integration.conftest import LONG_S


@pytest.fixture
def agent(shared):
    made = Callee(to_dist=shared.endpoint)
    yield made
    agentd.handle(made).delete()


async def exists(file):
    async with asyncio.timeout(LONG_S):
        while not file.exists():
            await asyncio.sleep(0.01)


def test_every_method_is_awaitable(agent):
    async def use():
        mine = agentd.aio(agent)
        assert agentd.aio(mine) is mine
        assert await mine.add(2) == 2
        assert await mine.soon(3) == 3
        assert await mine.later(4) == 4
        assert await mine("x") == ("called", "x")
        assert await mine.add.options(timeout=LONG_S, key="k")(1) == 3
        assert await mine.note.oneway("one") is None
        assert await mine.notes() == ["one"]
        assert await mine.add.submit(1) == 4
        assert await agentd.aio.read(mine, "value") == 4
        await agentd.aio.write(mine, "value", 9)
        return await agentd.aio.read(agent, "value")

    assert asyncio.run(use()) == 9
    with pytest.raises(ConfigError):
        agentd.aio(Callee())


def test_exceptions_come_as_they_were(agent):
    async def use():
        for method in (agentd.aio(agent).fail, agentd.aio(agent).soon_fails):
            with pytest.raises(Stubborn) as caught:
                await method(12)
            assert caught.value.code == 12
        results = await asyncio.gather(
            agentd.aio(agent).fail(1), agentd.aio(agent).add(1), return_exceptions=True
        )
        return [type(r).__name__ for r in results]

    assert asyncio.run(use()) == ["Stubborn", "int"]


def test_streams_are_read_with_async_for(agent):
    async def use():
        seen = [n async for n in agentd.aio(agent).count(5)]
        seen += [n async for n in agentd.aio(agent).count.stream(3)]
        return seen + [n async for n in agent.count.stream(2)]

    assert asyncio.run(use()) == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]


def test_ten_thousand_calls_in_flight_take_no_threads(shared):
    agents = [Callee(to_dist=shared.endpoint) for _ in range(20)]

    async def use():
        mine = [agentd.aio(agent) for agent in agents]
        await asyncio.gather(*(one.add(0) for one in mine))
        threads, most = threading.active_count(), 0

        async def call(number):
            nonlocal most
            value = await mine[number % 20].soon(number, 0)
            most = max(most, threading.active_count())
            return value

        started = time.perf_counter()
        values = await asyncio.gather(*(call(n) for n in range(10_000)))
        print(f"measured: {10_000 / (time.perf_counter() - started):.0f} calls/s from one loop")
        assert values == list(range(10_000))
        assert most <= threads + 2

    asyncio.run(asyncio.wait_for(use(), 90))
    for agent in agents:
        agentd.handle(agent).delete()


def test_a_cancelled_task_cancels_the_call(agent, tmp_path):
    started = tmp_path / "started"

    async def waiting():
        call = agentd.aio(agent).until_cancelled(str(started))

        async def wait():
            return await call

        task = asyncio.create_task(wait())
        await exists(started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await exists(tmp_path / "started.cancelled")
        assert await agentd.aio(agent).add(1) == 1

    asyncio.run(waiting())


def test_timeouts_of_either_kind(agent, tmp_path):
    never = str(tmp_path / "never")

    async def plain():
        with pytest.raises(CallTimeout):
            await agentd.aio(agent).until.options(timeout=0.2)(never)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await agentd.aio(agent).until(never)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(agentd.aio(agent).soon(1, 60), 0.2)
        return await agentd.aio(agent).add(1)

    assert asyncio.run(plain()) == 1


def test_tasks_and_groups_take_the_calls_themselves(agent):
    """As with any coroutine function of one's own."""

    async def use():
        task = asyncio.create_task(agentd.aio(agent).echo(1))
        async with asyncio.TaskGroup() as group:
            other = group.create_task(agentd.aio(agent).echo(2))
        return await task, other.result()

    assert asyncio.run(use()) == (1, 2)


def test_a_client_for_asyncio(shared, agent):
    async def use():
        async with await agentd.aio.connect(shared.endpoint) as client:
            mine = await client.create("tests.integration.callees:Callee", 5)
            assert await mine.add(1) == 6
            again = await client.get(agentd.handle(agent).id)
            assert await again.echo("a") == "a"
            ids = {one["id"] for one in await client.agents()}
            assert agentd.handle(agent).id in ids
            assert (await client.info())["pid"]
            assert client.endpoint == shared.endpoint

    asyncio.run(use())


def test_several_loops_at_once_and_one_after_the_other(agent):
    async def use(number):
        return await asyncio.gather(*(agentd.aio(agent).echo(number + n) for n in range(50)))

    with ThreadPoolExecutor(4) as pool:
        every = list(pool.map(lambda n: asyncio.run(use(n)), range(0, 400, 50)))
    assert [n for found in every for n in found] == list(range(400))
    assert asyncio.run(use(0)) == list(range(50))


def test_inside_an_agents_own_coroutine(agent, shared):
    others = [Callee(n, to_dist=shared.endpoint) for n in range(5)]
    assert agent.ask_await(others[2], "add", 1).result(LONG_S) == 3
    assert agent.ask_gather(others, "add", 1).result(LONG_S) == [1, 2, 4, 4, 5]
    started = time.monotonic()
    assert agent.ask_gather(others, "soon", "x", 0.4).result(LONG_S) == ["x"] * 5
    assert time.monotonic() - started < 1.6  # beside each other
    assert agent.ask_submit_await(others[0], "echo", "made the blocking way").result(LONG_S)
    with pytest.raises(Stubborn):
        agent.ask_await(others[0], "fail", 3).result(LONG_S)


# -- loops that read by themselves -----------------------------------------------------------------
async def many(agent, count=100):
    mine = agentd.aio(agent)
    return len(await asyncio.gather(*(mine.add(1) for _ in range(count))))


def test_loops_of_several_threads_use_an_agent_at_once(agent):
    def use():
        return asyncio.run(many(agent))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: use(), range(8))) == [100] * 8
    assert agent.value == 800


def test_loops_one_after_the_other_leave_nothing_behind(agent):
    asyncio.run(many(agent))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        asyncio.run(many(agent, 10))

    now = len(list(Path("/proc/self/fd").iterdir()))
    assert now <= before + 3  # what the last loop had may be there still
    assert agent.value == 400


def test_a_loop_that_is_held_up_finds_its_results_later(agent):
    async def use():
        tasks = [asyncio.ensure_future(agentd.aio(agent).add(1)) for _ in range(10)]
        await asyncio.sleep(0)
        time.sleep(0.3)  # it is held up
        return len(await asyncio.gather(*tasks))

    assert asyncio.run(use()) == 10


def test_a_blocking_call_and_a_loop_share_a_connection(agent):
    stop = threading.Event()

    def block():
        count = 0
        while not stop.is_set():
            agent.add(1)
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        blocking = pool.submit(block)
        awaited = sum(asyncio.run(many(agent)) for _ in range(5))
        stop.set()
        assert agent.value == awaited + blocking.result(LONG_S)


def test_the_end_of_a_worker_is_told_to_the_loop_that_reads(shared):
    class Ends(agentd.Agent):
        def one(self):
            return 1

        def end(self):
            os._exit(3)

    agent = Ends(to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})

    async def use():
        mine = agentd.aio(agent)
        assert await mine.one() == 1
        with pytest.raises(agentd.errors.AgentCrashed):
            async with asyncio.timeout(LONG_S):
                await mine.end()

    asyncio.run(use())
