"""Giving calls up: the caller is free at once, and so is the agent as soon as its code listens."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentCrashed, AgentdError, AgentNotFound
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.streamers import Streamer, Worker

AT_ONCE_S = 5.0
"""Much less than the work that is given up would take."""


def until(file):
    wait_until(file.exists, f"{file.name}")


def starts(agent, method, file, *args):
    """A call that runs."""
    result = getattr(agent, method).submit(method, str(file), *args)
    until(file)
    return result


def at_once(action):
    began = time.monotonic()
    value = action()
    assert time.monotonic() - began < AT_ONCE_S
    return value


def assert_cancelled(result):
    assert at_once(result.cancel) is True
    assert result.cancelled()
    with pytest.raises(CancelledError):
        at_once(result.result)


def test_a_queued_call_never_starts(hosted, tmp_path):
    agent = hosted(Worker)
    go, mark = tmp_path / "go", tmp_path / "mark"
    busy = agent.waits.submit(str(go), str(mark))
    until(mark)
    queued = agent.spin.submit("queued")
    assert_cancelled(queued)
    # The caller is free though nobody has answered: the cancellation may still be on its way. What
    # is answered on the same connection was sent after it, so it has come, and the queue is empty.
    assert agent.peek() == ["waits"]
    go.touch()
    assert busy.result(LONG_S) == "waited"
    assert agent.state() == (["waits"], [])


@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("spin", "spin CallCancelled True"),
        ("looks", "looks True"),
        ("naps", "naps CancelledError True"),
    ],
)
def test_a_running_call_hears_of_it(hosted, tmp_path, method, end):
    agent = hosted(Worker)
    result = starts(agent, method, tmp_path / "mark")
    assert_cancelled(result)
    assert agent.state.options(timeout=LONG_S)() == ([method], [end])


def test_cancel_of_a_finished_call_is_false(hosted):
    agent = hosted(Worker)
    result = agent.add.submit()
    assert result.result() == 1
    assert result.cancel() is False
    assert (result.cancelled(), result.result()) == (False, 1)


def test_a_caller_is_free_though_the_code_does_not_listen(hosted, tmp_path):
    agent, mark = hosted(Worker), tmp_path / "mark"
    result = agent.sleep.submit(1.0, str(mark))
    until(mark)
    assert_cancelled(result)
    assert agent.add() == 1


def test_interrupting_a_blocking_call_frees_the_caller(hosted, tmp_path):
    agent, mark = hosted(Worker), tmp_path / "mark"

    def press():
        until(mark)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        at_once(lambda: agent.looks("looks", str(mark)))
    pressing.join()
    assert agent.state.options(timeout=LONG_S)() == (["looks"], ["looks True"])


@pytest.mark.parametrize("method", ["spin", "naps"])
def test_cancelling_a_task_cancels_its_call(hosted, tmp_path, method):
    agent, mark = hosted(Worker), tmp_path / "mark"

    async def main():
        task = asyncio.create_task(_await(getattr(agentd.aio(agent), method)(method, str(mark))))
        while not mark.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def _await(call):
        return await call

    asyncio.run(main())
    _started, ended = agent.state.options(timeout=LONG_S)()
    assert len(ended) == 1


@pytest.mark.parametrize("ask", ["ask", "ask_async"])
@pytest.mark.parametrize("method", ["spin", "looks", "naps"])
def test_nested_calls_are_cancelled_two_levels_down(hosted, tmp_path, ask, method):
    if method == "naps" and ask == "ask":
        method = "spin"
    outer, middle, inner = hosted(Worker), hosted(Worker), hosted(Worker)
    mark = tmp_path / "mark"
    result = getattr(outer, ask).submit(middle, ask, inner, method, method, str(mark))
    until(mark)
    assert_cancelled(result)
    for agent in (inner, middle, outer):
        _started, ended = agent.state.options(timeout=LONG_S)()
        assert len(ended) == 1, ended


def test_a_stream_read_on_behalf_of_a_cancelled_call_is_cancelled_too(hosted, tmp_path):
    outer, inner = hosted(Worker), hosted(Streamer)
    never, mark = tmp_path / "never", tmp_path / "mark"
    result = outer.reads.submit(inner, "gated", 2, str(never), 1, str(mark))
    until(mark)
    assert_cancelled(result)
    started, ended = outer.state.options(timeout=LONG_S)()
    assert (started, ended) == (["reads gated"], ["reads CallCancelled"])
    assert inner.ping.options(timeout=LONG_S)() == "pong"


def test_cancelled_nested_calls_leave_the_worker_well(hosted, tmp_path):
    """The exception comes while the thread is in our own code: nothing there may break."""
    outer, inner = hosted(Worker), hosted(Worker)
    for number in range(60):
        mark = tmp_path / f"mark{number}"
        result = outer.ask.submit(inner, "looks", "looks", str(mark))
        until(mark)
        assert_cancelled(result)
        assert outer.ask.options(timeout=LONG_S)(inner, "add") == number + 1


def test_kill_ends_an_agent_of_a_shared_worker(hosted, tmp_path):
    agent, other = hosted(Worker), hosted(Worker)
    running = starts(agent, "looks", tmp_path / "mark")
    waiting = agent.add.submit()
    at_once(agentd.handle(agent).kill)
    for result in (running, waiting):
        error = at_once(lambda r=result: r.exception(LONG_S))
        assert isinstance(error, (AgentNotFound, AgentCrashed))
    with pytest.raises(AgentNotFound):
        agent.add()
    agentd.handle(agent).kill()
    assert other.add() == 1


def test_kill_ends_an_agent_with_a_worker_of_its_own_though_it_is_stuck(hosted, tmp_path):
    agent, mark = hosted(Worker, worker="dedicated"), tmp_path / "mark"
    running = agent.sleep.submit(LONG_S * 2, str(mark))
    until(mark)
    pid = agentd.handle(agent).info()["pid"]
    at_once(agentd.handle(agent).kill)
    assert isinstance(at_once(lambda: running.exception(LONG_S)), AgentdError)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "its process to end")
    with pytest.raises(AgentNotFound):
        agent.add()
