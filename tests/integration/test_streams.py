"""Streams: item by item, to ``for`` and ``async for``, with credit, across lost connections."""

import asyncio
import contextlib
import gc
import re
import threading
import time
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentCrashed, ConfigError, ResultExpired, SerializationError
from agentd.worker.streams import KEEP_ITEMS
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.streamers import Streamer

CREDIT = 64
MODULE = "tests.integration.streamers"


async def collect(stream):
    return [item async for item in stream]


def until_still(agent):
    """Wait until the agent makes no more items; how many it made."""
    last = [-1, time.monotonic()]

    def still():
        now = agent.so_far()
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] > 0.2

    wait_until(still, "the producer to stand still")
    return last[0]


# -- items -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["count", "acount"])
def test_every_item_in_order_to_for(hosted, method):
    agent = hosted(Streamer)
    assert list(getattr(agent, method)(300)) == list(range(300))
    assert list(getattr(agent, method).stream(5)) == list(range(5))
    assert agent.notes() == ["finally"] * 2


@pytest.mark.parametrize("method", ["count", "acount"])
def test_every_item_in_order_to_async_for(hosted, method):
    agent = hosted(Streamer)
    assert asyncio.run(collect(getattr(agent, method)(300))) == list(range(300))
    assert asyncio.run(collect(getattr(agentd.aio(agent), method)(300))) == list(range(300))


def test_an_empty_stream_ends(hosted):
    agent = hosted(Streamer)
    assert list(agent.nothing()) == []
    assert asyncio.run(collect(agent.nothing())) == []


def test_an_item_comes_before_the_next_one_is_made(hosted, tmp_path):
    file = tmp_path / "go"
    stream = hosted(Streamer).gated(3, str(file), 2)
    assert [next(stream), next(stream)] == [0, 1]
    file.touch()
    assert list(stream) == [2]


def test_a_generator_runs_only_when_it_is_read(hosted):
    agent = hosted(Streamer)
    stream = agent.count(3)
    assert agent.so_far() == 0
    assert list(stream) == [0, 1, 2]


def test_ten_thousand_items(hosted):
    assert list(hosted(Streamer).count(10_000)) == list(range(10_000))


def test_big_items(hosted):
    found = [(n, len(data)) for n, data in hosted(Streamer).count(12, size=3 * 1024 * 1024)]
    assert found == [(n, 3 * 1024 * 1024) for n in range(12)]


def test_two_streams_of_one_agent_read_side_by_side(hosted):
    agent = hosted(Streamer)
    assert list(zip(agent.count(2_000), agent.count(2_000), strict=True)) == [
        (n, n) for n in range(2_000)
    ]
    shorter = zip(agent.count(500), agent.count(700))  # noqa: B905 - the second one is longer
    assert len(list(shorter)) == 500
    assert agent.ping() == "pong"


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_streams_at_once_lose_and_repeat_nothing(hosted, count):
    agents = [hosted(Streamer) for _ in range(10)]
    firsts = range(0, 10 * count, 10)

    async def read_all():
        return await asyncio.gather(
            *(collect(agents[first // 10 % 10].numbers(first, 10)) for first in firsts)
        )

    found = asyncio.run(read_all())
    assert len(found) == count
    wrong = [
        (first, items)
        for first, items in zip(firsts, found, strict=True)
        if items != list(range(first, first + 10))
    ]
    assert wrong == []


def test_the_memory_of_ended_streams_is_bounded(start_daemon):
    daemon = start_daemon(workers=1)
    agent = Streamer(to_dist={"endpoint": daemon.endpoint})
    [worker] = daemon.client.info()["workers"]
    size = 1024 * 1024
    assert [len(data) for data in agent.data(10, size)] == [size] * 10
    before = resident_mib(worker["pid"])
    for _ in range(40):
        assert sum(map(len, agent.data(10, size))) == 10 * size
    # 400 MiB went through. Some of it stays for readers that lost their connection.
    assert resident_mib(worker["pid"]) - before < 200


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024


def test_a_stream_of_a_stream(hosted):
    one, other = hosted(Streamer), hosted(Streamer)
    assert list(one.relays(other, 200)) == [2 * n for n in range(200)]


# -- flow control ----------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["count", "acount"])
@pytest.mark.parametrize("credit", [1, 8, CREDIT])
def test_a_slow_reader_stops_the_producer(hosted, method, credit):
    agent = hosted(Streamer)
    stream = getattr(agent, method).options(credit=credit).stream(1_000)
    assert credit <= until_still(agent) <= credit + 1
    for number in range(100):
        assert next(stream) == number
    assert 100 <= until_still(agent) <= 100 + credit + 1
    assert list(stream) == list(range(100, 1_000))


# -- leaving early ---------------------------------------------------------------------------------
def leave_by_break(stream):
    for item in stream:
        if item == 2:
            break


def leave_by_close(stream):
    next(stream)
    stream.close()
    stream.close()


def leave_by_with(stream):
    with stream as items:
        next(items)


def leave_by_letting_go(stream):
    next(stream)


def leave_by_async_break(stream):
    async def read():
        async with contextlib.aclosing(stream) as items:
            async for _ in items:
                break

    asyncio.run(read())


def leave_by_cancelling_the_reader(stream):
    async def read():
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(0.1):
                async for _ in stream:
                    await asyncio.sleep(0.01)

    asyncio.run(read())


@pytest.mark.parametrize("method", ["count", "acount"])
@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_close,
        leave_by_with,
        leave_by_letting_go,
        leave_by_async_break,
        leave_by_cancelling_the_reader,
    ],
)
def test_leaving_early_runs_the_finally_of_the_generator(hosted, method, leave):
    agent = hosted(Streamer)
    stream = getattr(agent, method)(1_000_000)
    leave(stream)
    del stream
    gc.collect()
    wait_until(lambda: agent.notes() == ["finally"], "the generator to be closed")
    assert agent.so_far() < 1_000_000


# -- failures --------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["ends_badly", "aends_badly"])
@pytest.mark.parametrize("n", [0, 1, 200])
def test_an_exception_arrives_after_the_items_before_it(hosted, method, n):
    found = []
    with pytest.raises(LookupError) as caught:  # noqa: PT012 - the items before it count
        for item in getattr(hosted(Streamer), method)(n):
            found.append(item)  # noqa: PERF402 - kept although it raises
    assert found == list(range(n))
    assert caught.value.args == ("after", n)


def test_an_item_that_cannot_travel_is_told(hosted):
    stream = hosted(Streamer).refuses_to_travel()
    assert next(stream) == 1
    with pytest.raises(SerializationError, match="an item of refuses_to_travel"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("n", [0, 3, CREDIT])
def test_a_crash_is_an_error_and_never_a_short_stream(hosted, tmp_path, n):
    file = tmp_path / "die"
    found = []
    with pytest.raises(AgentCrashed) as caught:  # noqa: PT012 - the items before it count
        for item in (
            hosted(Streamer, worker="dedicated").dies.options(credit=100).stream(n, str(file))
            if n
            else _now(hosted(Streamer, worker="dedicated").dies.stream(0, str(file)), file)
        ):
            found.append(item)
            if len(found) == n:
                file.touch()
    assert found == list(range(n))
    assert caught.value.exit_code == 7


def _now(stream, file):
    file.touch()
    return stream


# -- offsets ---------------------------------------------------------------------------------------
def link_of(stream):
    return stream._link


@pytest.mark.parametrize("method", ["count", "acount"])
def test_a_lost_connection_goes_on_without_gap_or_repeat(hosted, method):
    stream = getattr(hosted(Streamer), method)(2_000)
    found, lost = [], 0
    for item in stream:
        found.append(item)
        if item % 97 == 50:
            link_of(stream).fail("the test cut it")
            lost += 1
    assert found == list(range(2_000))
    assert lost > 10


def test_a_lost_connection_goes_on_for_async_for(hosted):
    stream = hosted(Streamer).count(1_000)

    async def read():
        found = []
        async for item in stream:
            found.append(item)
            if item % 97 == 50:
                link_of(stream).fail("the test cut it")
        return found

    assert asyncio.run(read()) == list(range(1_000))


def test_a_lost_connection_while_the_reader_waits(hosted, tmp_path):
    file = tmp_path / "go"
    stream = hosted(Streamer).gated(6, str(file), 3)
    found = [next(stream) for _ in range(3)]

    def cut():
        for _ in range(3):
            wait_until(lambda: link_of(stream).down is None, "the link to be there")
            link_of(stream).fail("the test cut it")
            time.sleep(0.05)
        file.touch()

    cutter = threading.Thread(target=cut)
    cutter.start()
    found += list(stream)
    cutter.join()
    assert found == list(range(6))


def test_a_second_reader_reads_from_any_offset(hosted):
    agent = hosted(Streamer)
    first = agent.count(200)
    head = [next(first) for _ in range(50)]
    assert first.offset == 50
    second = agentd.handle(agent).stream(first.id, 20)
    assert [next(second) for _ in range(10)] == list(range(20, 30))
    assert second.offset == 30
    assert head + list(first) == list(range(200))
    assert list(second) == list(range(30, 200))
    assert list(agentd.handle(agent).stream(first.id)) == list(range(200)), "after its end, too"


def test_another_process_reads_on(hosted, script, shared):
    agent = hosted(Streamer)
    stream = agent.count(500)
    head = [next(stream) for _ in range(10)]
    printed = script.run(
        """
import sys, agentd
agent = agentd.connect(sys.argv[1]).get(sys.argv[2])
for item in agentd.handle(agent).stream(sys.argv[3], int(sys.argv[4])):
    print(item)
""",
        shared.endpoint,
        agentd.handle(agent).id,
        stream.id,
        str(stream.offset),
    )
    assert head + [int(line) for line in printed] == list(range(500))


def test_what_is_not_kept_any_more_is_an_error(hosted):
    agent = hosted(Streamer)
    stream = agent.count(KEEP_ITEMS * 2)
    for _ in range(KEEP_ITEMS + 500):
        next(stream)
    with pytest.raises(ResultExpired, match="kept from item") as caught:
        next(agentd.handle(agent).stream(stream.id, 0))
    first = caught.value.first
    assert 0 < first <= 500 + CREDIT
    assert next(agentd.handle(agent).stream(stream.id, first + CREDIT)) == first + CREDIT
    with pytest.raises(ResultExpired):
        next(agentd.handle(agent).stream("00" * 24, 0))
    with pytest.raises(ConfigError, match="not the id"):
        agentd.handle(agent).stream("what?", 0)


# -- turns -----------------------------------------------------------------------------------------
def test_the_readers_own_calls_get_in_between_two_items(hosted):
    agent = hosted(Streamer)
    found = []
    for item in agent.count(200):
        found.append(item)
        assert agent.ping() == "pong"
    assert found == list(range(200))


def test_other_clients_wait_for_the_end_of_the_stream(hosted, script, shared):
    agent = hosted(Streamer)
    stream = agent.count(1_000)
    next(stream)
    until_still(agent)
    other = script.start(
        """
import sys, agentd
agent = agentd.connect(sys.argv[1]).get(sys.argv[2])
print(agent.so_far(), flush=True)
print(agent.so_far() , agent.ping(), agent.notes(), flush=True)
""",
        shared.endpoint,
        agentd.handle(agent).id,
    )
    assert 0 < int(other.stdout.readline()) < 1_000, "a readonly method runs beside it"
    reader = []
    waiting = threading.Thread(target=lambda: reader.append(other.stdout.readline()), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert reader == []
    assert agent.ping() == "pong"
    assert list(stream) == list(range(1, 1_000))
    waiting.join(LONG_S)
    assert "pong ['finally']" in reader[0]
