"""Whose turn it is, over the wire: one at a time, unless the options say otherwise."""

import asyncio

import pytest

import agentd
from agentd.errors import CallCancelled, Overloaded
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.streamers import Turner, Worker


def busy_with(agent, folder, method="waits"):
    """A call that runs until the file is there."""
    go, mark = folder / "go", folder / "mark"
    result = getattr(agent, method).submit(str(go), str(mark))
    wait_until(mark.exists, "the call to run")
    return result, go


def test_async_def_calls_do_not_interleave_at_their_awaits(hosted):
    agent = hosted(Turner)

    async def main():
        await asyncio.gather(*(agentd.aio(agent).steps(f"n{n}") for n in range(20)))

    asyncio.run(main())
    order = agent.order
    assert agent.most == 1
    assert order == [name for name in dict.fromkeys(order) for _ in range(5)]


def test_max_concurrency_for_threads(hosted, tmp_path):
    agent = hosted(Turner, max_concurrency=4)
    results = [agent.meets.submit(str(tmp_path), 4) for _ in range(4)]
    assert [result.result(LONG_S) for result in results] == [4] * 4


def test_max_concurrency_for_tasks(hosted):
    agent = hosted(Turner, max_concurrency=3)
    results = [agent.meets_async.submit(3) for _ in range(6)]
    assert [result.result(LONG_S) for result in results] == [3] * 6
    assert agent.most == 3


@pytest.mark.parametrize("method", ["waits", "waits_async"])
def test_readonly_runs_beside_a_running_call(hosted, tmp_path, method):
    agent = hosted(Turner)
    running, go = busy_with(agent, tmp_path, method)
    said = agent.say.submit("after")
    assert agent.look.options(timeout=LONG_S)() == []
    assert agent.look_async.options(timeout=LONG_S)().result() == []
    assert not said.done()
    go.touch()
    assert (running.result(LONG_S), said.result(LONG_S)) == ("waited", "after")


def test_a_bounded_queue_refuses_more(hosted, tmp_path):
    agent = hosted(Turner, mailbox=2)
    running, go = busy_with(agent, tmp_path)
    queued = [agent.say.submit(n) for n in "ab"]
    with pytest.raises(Overloaded) as caught:
        agent.say("c")
    assert caught.value.limit == 2
    go.touch()
    assert [r.result(LONG_S) for r in (running, *queued)] == ["waited", "a", "b"]
    assert agent.order == ["waited", "a", "b"]


def test_reject(hosted, tmp_path):
    agent = hosted(Turner, busy="reject")
    running, go = busy_with(agent, tmp_path)
    with pytest.raises(Overloaded):
        agent.say("no")
    go.touch()
    assert running.result(LONG_S) == "waited"
    retry = agentd.Retry.fixed(50, 0.1)
    assert agent.say.options(retry=retry)("yes") == "yes", "its turn ends a moment later"


@pytest.mark.parametrize("method", ["spin", "naps"])
def test_interrupt(hosted, tmp_path, method):
    agent, mark = hosted(Worker, busy="interrupt"), tmp_path / "mark"
    running = getattr(agent, method).submit("old", str(mark))
    wait_until(mark.exists, "the call to run")
    assert agent.add.options(timeout=LONG_S)() == 1
    error = running.exception(LONG_S)
    assert isinstance(error, CallCancelled)
    assert "newer call" in str(error)
