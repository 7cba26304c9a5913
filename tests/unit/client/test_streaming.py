"""Streams of a worker that says just what the test has it say."""

import asyncio
import threading

import pytest

from agentd.client.proxy import make_proxy
from agentd.client.streaming import Stream
from agentd.client.target import Target
from tests.unit.client.fakes import AGENT
from tests.unit.client.test_session import LONG_S, outgoing


@pytest.fixture
def stream(world, monkeypatch):
    """One that has no item yet."""
    session = world.session()
    session.workers.link(session.places.locate(AGENT))
    monkeypatch.setattr("agentd.client.streaming.session_of", lambda _aim: session)
    proxy = make_proxy(Target(AGENT, session.endpoint, "m:T", about={"methods": {"m": 0}}))
    return Stream(proxy, outgoing()._replace(op="stream", credit=8))


def test_a_thread_that_waits_for_an_item_is_woken_when_the_stream_is_closed(stream, monkeypatch):
    waits = threading.Event()
    readers = stream._link._readers
    lead = readers.lead
    monkeypatch.setattr(readers, "lead", lambda *args: (waits.set(), lead(*args)))
    found = []
    reader = threading.Thread(target=lambda: found.extend(stream), daemon=True)
    reader.start()
    assert waits.wait(LONG_S)

    stream.close()

    reader.join(LONG_S)
    assert not reader.is_alive()
    assert found == []


def test_a_task_that_waits_for_an_item_is_woken_when_the_stream_is_closed(stream):
    async def read():
        return [item async for item in stream]

    async def both():
        reader = asyncio.create_task(read())
        while stream._pending.on_change is None:
            await asyncio.sleep(0)
        await stream.aclose()
        return await asyncio.wait_for(reader, LONG_S)

    assert asyncio.run(both()) == []
