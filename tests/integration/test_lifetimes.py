"""How long an agent lives, and what is said of one that is gone."""

import os
import signal
import time
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentNotFound, TransportError
from tests.integration.agents import Counter, Failing, Maker
from tests.integration.conftest import until_gone, wait_until

MAKE = """
import sys, agentd
class Agent(agentd.Agent):
    def __init__(self, n): self.n = n
    def add(self):
        self.n += 1
        return self.n
"""


def test_a_script_run_three_times_leaves_nothing_but_what_has_a_name(script, shared):
    # Given
    text = (
        MAKE
        + """
one = Agent(1, to_dist=True)
two = Agent(2).to_dist()
kept = Agent(3, to_dist={"name": "kept", "get_if_exists": True})
print(one.add(), two.add(), kept.add())
"""
    )
    before = shared.ids()
    # When
    printed = [script.run(text, AGENTD_ENDPOINT=shared.endpoint)[0] for _ in range(3)]
    # Then
    assert printed == ["2 3 4", "2 3 5", "2 3 6"]
    kept = shared.client.get("kept")
    wait_until(lambda: shared.ids() - before == {agentd.handle(kept).id}, "the agents to end")
    assert agentd.handle(kept).info()["lifetime"] == "daemon"
    agentd.handle(kept).delete()


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({}, False),
        ({"name": "n1"}, True),
        ({"name": "n2", "lifetime": "client"}, False),
        ({"lifetime": "daemon"}, True),
    ],
)
def test_who_stays_when_the_client_is_gone(script, shared, options, stays):
    text = (
        MAKE
        + f"""
agent = Agent(1, to_dist={options!r})
agent.add()
print(agentd.handle(agent).id)
"""
    )
    id_ = script.run(text, AGENTD_ENDPOINT=shared.endpoint)[0]
    if stays:
        time.sleep(1.5)  # longer than the grace period
        assert shared.client.get(id_).add() == 3
        shared.client.delete(id_)
    wait_until(lambda: id_ not in shared.ids(), "the agent to end")


def test_a_script_that_says_goodbye_needs_no_grace(script, start_daemon):
    daemon = start_daemon(client_grace_s=3600.0)
    text = MAKE + "print(Agent(1, to_dist=True).add())"
    assert script.run(text, AGENTD_ENDPOINT=daemon.endpoint) == ["2"]
    wait_until(lambda: not daemon.ids(), "the agent to end")


def test_a_script_that_ends_by_an_exception_leaves_nothing(script, shared):
    before = shared.ids()
    process = script.start(
        MAKE + "Agent(1, to_dist=True).add()\nraise SystemExit(5)", AGENTD_ENDPOINT=shared.endpoint
    )
    assert process.wait(30) == 5
    wait_until(lambda: shared.ids() <= before, "the agent to end")


WAIT = (
    MAKE
    + """
agent = Agent(1, to_dist=True)
agent.add()
print(agentd.handle(agent).id, flush=True)
input()
print(agent.add(), flush=True)
"""
)


def test_a_client_that_is_killed_takes_its_agents_along(script, shared):
    # Given
    process = script.start(WAIT, AGENTD_ENDPOINT=shared.endpoint)
    id_ = process.stdout.readline().strip()
    assert id_ in shared.ids()
    # When
    process.kill()
    process.wait()
    # Then
    wait_until(lambda: id_ not in shared.ids(), "the agent to end")
    with pytest.raises(AgentNotFound, match="client"):
        shared.client.inspect(id_)


def test_a_client_that_is_stopped_keeps_its_agents(script, shared):
    # Given
    process = script.start(WAIT, AGENTD_ENDPOINT=shared.endpoint)
    id_ = process.stdout.readline().strip()
    # When it is stopped for three times the grace period
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3)
    # Then
    assert id_ in shared.ids()
    os.kill(process.pid, signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "3\n"


def test_an_idle_client_keeps_its_agents(script, shared):
    process = script.start(WAIT, AGENTD_ENDPOINT=shared.endpoint)
    process.stdout.readline()
    time.sleep(2.5)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "3\n"


def test_dropping_a_proxy_ends_nothing(shared):
    agent = Counter(1, to_dist=shared.endpoint)
    id_ = agentd.handle(agent).id
    del agent
    import gc

    gc.collect()
    assert shared.client.get(id_).add() == 2
    shared.client.delete(id_)


def test_a_handle_deletes_at_the_end_of_its_block(shared):
    with agentd.handle(Counter(1, to_dist=shared.endpoint)) as handle:
        assert handle.proxy.add() == 2
    with pytest.raises(AgentNotFound, match="deleted"):
        handle.proxy.add()
    with pytest.raises(KeyError), agentd.handle(Counter(to_dist=shared.endpoint)) as handle:
        raise KeyError
    assert handle.id not in shared.ids()


def test_deleting_what_is_still_being_made(shared, tmp_path):
    from tests.integration.agents import Late

    agent = Late(str(tmp_path / "go"), to_dist=shared.endpoint)
    agentd.handle(agent).delete()
    (tmp_path / "go").touch()
    with pytest.raises(AgentNotFound):
        agentd.handle(agent).wait(30)
    assert agentd.handle(agent).id not in shared.ids()


def test_not_found_says_when_and_why(shared):
    # Given
    before = time.time()
    agent = Counter(1, to_dist=shared.endpoint)
    agent.add()
    id_ = agentd.handle(agent).id
    other = shared.client.get(id_)
    # When
    shared.client.delete(id_)
    # Then
    for use in (agent.add, other.add, lambda: shared.client.get(id_), lambda: agent.value):
        with pytest.raises(AgentNotFound, match="deleted") as caught:
            use()
        error = caught.value
        assert before - 1 <= error.ended_at <= time.time() + 1
        assert "deleted" in error.reason
        assert error.agent == id_
        assert time.strftime("%H:%M:%S", time.localtime(error.ended_at)) in str(error)


def test_not_found_of_one_that_never_was(shared):
    with pytest.raises(AgentNotFound, match="no-such-agent"):
        shared.client.get("no-such-agent")
    with pytest.raises(AgentNotFound):
        shared.client.get("f" * 32)


def test_hasattr_does_not_hide_that_an_agent_is_gone(shared):
    agent = Counter(1, to_dist=shared.endpoint)
    agentd.handle(agent).delete()
    with pytest.raises(AgentNotFound):
        hasattr(agent, "value")


def test_calls_that_wait_when_an_agent_is_deleted_are_told(shared):
    agent = Sleepy(to_dist=shared.endpoint)
    running, waiting = agent.sleep.submit(0.5), agent.sleep.submit(0)
    agentd.handle(agent).wait(30)
    wait_until(lambda: agent_is_busy(shared, agent), "the first call to run", every=0.05)
    agentd.handle(agent).delete()
    with pytest.raises(AgentNotFound, match="deleted"):
        waiting.result(30)
    try:
        assert running.result(30) == 0.5
    except AgentNotFound as error:
        assert "deleted" in str(error)


class Sleepy(agentd.Agent):
    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds


def agent_is_busy(daemon, agent):
    return agentd.handle(agent).id in daemon.ids()


def test_children_end_with_their_maker(shared):
    maker = Maker(to_dist=shared.endpoint)
    children = maker.make(3)
    daemon_child = maker.make(1, lifetime="daemon")[0]
    assert [child.add() for child in children] == [1, 2, 3]
    agentd.handle(maker).delete()
    ids = {agentd.handle(child).id for child in children}
    wait_until(lambda: not ids & shared.ids(), "the children to end")
    for child in children:
        with pytest.raises(AgentNotFound, match="the agent that made it"):
            child.add()
    assert daemon_child.add() == 1
    agentd.handle(daemon_child).delete()


def test_a_failed_agent_leaves_its_name_free(shared):
    conf = {"endpoint": shared.endpoint, "name": "again"}
    with pytest.raises(agentd.errors.AgentCreationError):
        agentd.handle(Failing(to_dist=conf)).wait(30)
    with agentd.handle(Counter(1, to_dist=conf)) as handle:
        assert handle.wait(30).proxy.value == 1


def test_a_daemon_that_stopped_is_told_and_one_that_came_back_is_found(start_daemon):
    # Given
    daemon = start_daemon()
    agent = Counter(1, to_dist=daemon.endpoint)
    agent.add()
    # When
    daemon.stop()
    # Then
    with pytest.raises(TransportError):
        agent.add()
    with pytest.raises(TransportError):
        agentd.handle(agent).info()
    # When another one takes its place
    from tests.integration.conftest import Daemon

    second = Daemon(daemon.endpoint)
    try:
        with pytest.raises(AgentNotFound, match="restarted"):
            agent.add()
        assert Counter(5, to_dist=daemon.endpoint).add() == 6
    finally:
        second.stop()


def test_an_embedded_daemon_ends_with_its_client(script, short):
    text = (
        MAKE
        + """
agent = Agent(1, to_dist=True)
print(agent.add(), agentd.connect().info()["pid"], flush=True)
input()
"""
    )
    for end in (signal.SIGKILL, signal.SIGTERM):
        process = script.start(text, XDG_RUNTIME_DIR=short)
        value, pid = process.stdout.readline().split()
        assert value == "2"
        process.send_signal(end)
        process.wait()
        until_gone(int(pid))
        wait_until(lambda: not list(Path(short, "agentd").iterdir()), "its folder to go")
