"""Calls that are tried again, and those that are not."""

import time

import pytest

import agentd
from agentd import Retry
from agentd.errors import AgentCrashed, Overloaded
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.streamers import Flaky

FAST = Retry.fixed(3, 0.05)


@pytest.fixture(params=["call", "submit"])
def do(request):
    def blocking(method, *args):
        return method(*args)

    def submitted(method, *args):
        return method.submit(*args).result(LONG_S)

    return blocking if request.param == "call" else submitted


def attempts(folder):
    return len(list(folder.iterdir()))


def test_idempotent_runs_again_after_a_crash(hosted, tmp_path, do):
    agent = hosted(Flaky, str(tmp_path), worker="dedicated")
    assert do(agent.dies_idempotent.options(retry=FAST), 2) == 3


def test_the_agents_own_retry_holds_unless_the_call_says_so(hosted, tmp_path, do):
    agent = hosted(Flaky, str(tmp_path), worker="dedicated", retry=FAST)
    assert do(agent.dies_idempotent, 1) == 2


def test_no_more_often_than_told(hosted, tmp_path, do):
    agent = hosted(Flaky, str(tmp_path), worker="dedicated")
    with pytest.raises(AgentCrashed):
        do(agent.dies_idempotent.options(retry=Retry.fixed(1, 0.01)), 5)
    assert attempts(tmp_path) == 2


def test_what_may_have_run_is_not_run_again(hosted, tmp_path, do):
    agent = hosted(Flaky, str(tmp_path), worker="dedicated")
    with pytest.raises(AgentCrashed):
        do(agent.dies.options(retry=FAST), 1)
    assert attempts(tmp_path) == 1


def test_what_the_agent_raises_is_its_answer(hosted, tmp_path, do):
    agent = hosted(Flaky, str(tmp_path))
    with pytest.raises(ValueError, match="1"):
        do(agent.fails.options(retry=FAST))
    assert attempts(tmp_path) == 1


def test_overloaded_is_tried_again_until_there_is_room(hosted, tmp_path, do):
    notes = tmp_path / "notes"
    notes.mkdir()
    agent = hosted(Flaky, str(notes), busy="reject")
    go, mark = tmp_path / "go", tmp_path / "mark"
    running = agent.waits.submit(str(go), str(mark))
    wait_until(mark.exists, "the call to run")
    with pytest.raises(Overloaded):
        do(agent.once.options(retry=Retry.fixed(2, 0.01)))
    go.touch()
    assert do(agent.once.options(retry=Retry.fixed(100, 0.1))) == 1
    assert running.result(LONG_S) == "waited"


def test_not_beyond_the_deadline(hosted, tmp_path):
    agent, go, mark = hosted(Flaky, str(tmp_path), busy="reject"), tmp_path / "go", tmp_path / "m"
    running = agent.waits.submit(str(go), str(mark))
    wait_until(mark.exists, "the call to run")
    began = time.monotonic()
    with pytest.raises(agentd.errors.CallError):
        agent.once.options(timeout=0.5, retry=Retry.fixed(1_000, 0.1))()
    assert time.monotonic() - began < LONG_S / 2
    go.touch()
    assert running.result(LONG_S) == "waited"
