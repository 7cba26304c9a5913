"""``__init__`` runs once, where it belongs, and nobody waits for it who need not."""

import os
import pickle
import time
from pathlib import Path

import pytest

import agentd
from agentd.client.daemon import Daemon
from agentd.client.runtime import runtime
from agentd.errors import AgentCreationError, AgentNotFound, CallTimeout
from tests.integration import agents
from tests.integration.agents import Counter, Failing, Initialised, Late, noted
from tests.integration.conftest import wait_until


def test_by_spec_everything_runs_once_in_the_worker(tmp_path):
    # Given
    file = str(tmp_path / "notes")
    # When
    agent = Initialised(file, to_dist=True)
    agent.value = 5
    copy = pickle.loads(pickle.dumps(agent))
    # Then
    assert copy.value == 5
    assert noted(file) == [("new", agent.pid()), ("init", agent.pid())]
    assert agent.pid() != os.getpid()


def test_live_everything_runs_once_in_the_client(tmp_path):
    # Given
    file = str(tmp_path / "notes")
    local = Initialised(file, 1)
    local.value = 2
    local.added = {"later": [1]}
    # When
    agent = local.to_dist()
    # Then
    assert (agent.value, agent.added) == (2, {"later": [1]})
    assert agent.pid() != os.getpid()
    assert noted(file) == [("new", os.getpid()), ("init", os.getpid())]


def test_the_object_here_and_the_hosted_one_go_their_own_ways():
    # Given
    local = Counter(1)
    agent = local.to_dist()
    # When
    local.add(10)
    agent.add(1)
    # Then
    assert (local.value, agent.value) == (11, 2)


def test_each_use_of_to_dist_makes_an_agent_of_its_own():
    local = Counter(1)
    first, second = local.to_dist(), local.to_dist()
    first.add(1)
    assert (first.value, second.value) == (2, 1)
    assert first != second


def test_by_spec_nothing_of_the_class_runs_in_the_client(script, shared):
    # Given a class all of whose hooks tell that they ran
    text = """
import os, sys, agentd
class Loud:
    def __set_name__(self, owner, name): pass
    def __get__(self, obj, owner):
        print("default", os.getpid()); return 1
class Base:
    def __init_subclass__(cls): print("subclass", os.getpid())
class Agent(Base, metaclass=agentd.RpcMeta):
    attribute = Loud()
    def __new__(cls, *a): print("new", os.getpid()); return super().__new__(cls)
    def __init__(self, n): print("init", os.getpid()); self.n = n
    def __getattribute__(self, name):
        print("get", os.getpid()); return super().__getattribute__(name)
    def __setattr__(self, name, value):
        print("set", os.getpid()); super().__setattr__(name, value)
print("--")
agent = Agent(4, to_dist=True)
assert agent.n == 4
print("me", os.getpid())
"""
    # When
    lines = script.run(text, AGENTD_ENDPOINT=shared.endpoint)
    # Then only making the class itself was seen here
    assert lines[-1].startswith("me")
    assert lines == [lines[-1].replace("me", "subclass"), "--", lines[-1]]


def test_a_hundred_calls_of_eight_processes_lose_nothing(script, shared):
    # Given
    counter = Slow(to_dist={"endpoint": shared.endpoint, "name": "hundred"})
    text = """
import sys, agentd
from concurrent.futures import ThreadPoolExecutor
agent = agentd.connect().get("hundred")
n = int(sys.argv[1])
print("ready", flush=True)
input()
with ThreadPoolExecutor(n) as pool:
    for done in [pool.submit(agent.add) for _ in range(n)]: done.result()
"""
    clients = [
        script.start(text, n, AGENTD_ENDPOINT=shared.endpoint) for n in ["13"] * 4 + ["12"] * 4
    ]
    for client in clients:
        assert client.stdout.readline() == "ready\n"
    # When
    for client in clients:
        client.stdin.write("\n")
        client.stdin.flush()
    for client in clients:
        assert client.wait(60) == 0, client.stderr.read()
    # Then
    assert counter.value == 100
    agentd.handle(counter).delete()


class Slow(agentd.Agent):
    """Would lose updates if two calls overlapped."""

    def __init__(self):
        self.value = 0

    def add(self):
        value = self.value
        time.sleep(0.001)
        self.value = value + 1


def test_constructors_return_before_init_is_done_and_inits_overlap(tmp_path):
    # Given agents each of which waits in __init__ for all the others
    here = str(tmp_path / "here")
    # When
    started = time.monotonic()
    made = [Late("", here=here, of=10, to_dist=True) for _ in range(10)]
    # Then
    assert [agent.value for agent in made] == [1] * 10
    assert time.monotonic() - started < 20


def test_ten_agents_of_a_second_each_start_in_about_a_second():
    started = time.monotonic()
    sleepers = [Sleeper(to_dist=True) for _ in range(10)]
    returned = time.monotonic() - started
    for sleeper in sleepers:
        agentd.handle(sleeper).wait(30)
    assert returned < 1
    assert time.monotonic() - started < 6


class Sleeper(agentd.Agent):
    def __init__(self):
        time.sleep(1)


class Now(agentd.Agent):
    """Quick to be built, unless it is given something to wait for."""

    def __init__(self, other=None, file=""):
        while file and not Path(file).exists():
            time.sleep(0.01)
        self.value = other.value if other is not None else 1


@pytest.fixture
def alone(start_daemon):
    """The endpoint of a daemon with one worker, which knows that ``Now`` is built quickly."""
    endpoint = start_daemon(workers=1).endpoint
    for agent in [Now(to_dist=endpoint) for _ in range(50)]:
        assert agent.value == 1
    return endpoint


def test_one_that_is_quick_mostly_holds_up_nobody_when_it_is_not(alone, tmp_path):
    other, file = Now(to_dist=alone), tmp_path / "go"
    slow = Now(file=str(file), to_dist=alone)
    for _ in range(20):
        assert other.value == 1
    assert Now(to_dist=alone).value == 1
    with pytest.raises(CallTimeout):
        agentd.handle(slow).wait(0.05)
    file.touch()
    assert slow.value == 1


class GivingWay(agentd.Agent):
    def __init__(self):
        self.how = agentd.current_call().gives_way.__name__


def test_a_constructor_that_begins_to_wait_gives_way_at_once():
    """It may run on the thread that reads, and another one would take over only after a while."""
    assert GivingWay(to_dist=True).how == "gives_way"


def test_one_that_is_quick_mostly_may_wait_for_a_neighbour(alone):
    made = Now(to_dist=alone)
    for _ in range(20):
        made = Now(made, to_dist=alone)
    assert made.value == 1


def test_nobody_looks_again_and_again_whether_one_is_built(tmp_path, start_daemon):
    file, endpoint = tmp_path / "go", start_daemon().endpoint
    slow = Now(file=str(file), to_dist=endpoint)
    link = runtime().session_at(endpoint).daemon.link
    with pytest.raises(CallTimeout):
        agentd.handle(slow).wait(0.2)  # meanwhile the pump has had its turns
    assert link.waiting
    reads = link._reads
    time.sleep(0.3)  # one look each 10 ms would be thirty
    assert link._reads - reads < 10
    file.touch()
    assert slow.value == 1


def test_wait_gives_up_in_time_and_can_be_asked_again(tmp_path):
    # Given
    file = tmp_path / "go"
    agent = Late(str(file), to_dist=True)
    handle = agentd.handle(agent)
    # Then
    with pytest.raises(CallTimeout, match=r"not ready after 0\.05 s") as caught:
        handle.wait(0.05)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == 0.05
    # When
    file.touch()
    # Then
    assert handle.wait(30) is handle
    assert agent.value == 1


@pytest.mark.parametrize("ask", [lambda a: agentd.handle(a).wait(30), lambda a: a.deep()])
def test_a_failed_init_is_told_with_its_cause_again_and_again(ask):
    agent = Failing(to_dist=True)
    for _ in range(2):
        with pytest.raises(AgentCreationError, match="ValueError") as caught:
            ask(agent)
        cause = caught.value.__cause__
        assert type(cause) is ValueError
        assert cause.args == ("no good", 42)
        assert "in deep" in "".join(format_exception(caught.value))
        assert caught.value.agent == agentd.handle(agent).id


def test_a_failed_init_is_told_to_whoever_gets_the_reference():
    agent = Failing(to_dist=True)
    other = pickle.loads(pickle.dumps(agent))
    counter = Counter(to_dist=True)
    with pytest.raises((AgentCreationError, AgentNotFound), match="no good"):
        other.deep()
    with pytest.raises((AgentCreationError, AgentNotFound), match="no good"):
        counter.ask(agent, "deep")


def test_a_failed_init_that_nobody_looks_at_is_logged(start_daemon, capfd):
    # Given
    daemon = start_daemon()
    # When
    id_ = agentd.handle(Failing(to_dist=daemon.endpoint)).id
    wait_until(lambda: id_ not in daemon.ids(), "the agent to fail")
    # Then the daemon says that it did, and the agent's own output says why
    daemon.stop()
    assert "agent failed to start: ValueError" in capfd.readouterr().err


def test_live_state_that_fails_to_unpickle_is_an_agent_creation_error():
    agent = agents.Counter(1)
    agent.part = Unreadable()
    proxy = agent.to_dist()
    with pytest.raises(AgentCreationError, match="cannot be read") as caught:
        proxy.add()
    assert type(caught.value.__cause__.__cause__) is RuntimeError


@pytest.mark.parametrize("use", ["call", "submit", "named"])
def test_an_order_that_came_late_as_the_daemon_was_behind_is_given_again(use, monkeypatch):
    # Given a first order that looks as if it had been on its way for a minute
    agents.Counter(0, to_dist=True).add(1)
    told = Daemon.now
    times = iter([60.0])
    monkeypatch.setattr(Daemon, "now", lambda daemon: told(daemon) - next(times, 0.0))
    # When
    options = {"name": "late", "lifetime": "client"} if use == "named" else True
    agent = agents.Counter(5, to_dist=options)
    # Then
    assert next(times, None) is None
    assert (agent.add.submit(1).result() if use == "submit" else agent.add(1)) == 6
    agentd.handle(agent).delete()


class Unreadable:
    def __reduce__(self):
        return refuse, ()


def refuse():
    if os.getpid() != HERE:
        raise RuntimeError("cannot be read")


HERE = os.getpid()


def format_exception(error):
    import traceback

    return traceback.format_exception(error)
