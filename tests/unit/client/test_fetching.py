"""Outcomes that are fetched through a daemon, which may know sooner that an agent has moved."""

import time
from types import SimpleNamespace

import pytest

from agentd.client.fetching import Outcome, fetch
from agentd.client.references import RESULT
from agentd.errors import AgentCrashed, AgentNotFound, ConnectionLost
from agentd.protocol.messages import Error, Result
from tests.unit.client.fakes import AGENT

KEY = b"k" * 24
LONG_S = 30.0


@pytest.fixture
def begin(world, monkeypatch):
    """``begin(epoch)``: a fetch by reference, on its way to a daemon that relays; what it took."""
    session = world.session(direct=False)
    daemon = session.daemon.connect()
    runtime = SimpleNamespace(session_at=lambda _endpoint: session)
    monkeypatch.setattr("agentd.client.runtime.runtime", lambda: runtime)

    def start(epoch):
        taken = []
        fetch((RESULT, KEY, AGENT, session.endpoint, epoch), taken.append)
        daemon.pump()
        return taken, daemon.pump

    return start


def tell(peer, kind, make):
    peer.connections[-1].deliver(make(peer.of_kind(kind)[-1].id))


def moved(number):
    return Error(number, AgentNotFound.code, "it is not at epoch 1 any more", {"moved": True})


def test_what_went_with_its_worker_is_told_as_that_worker_s_end(world, begin):
    taken, read = begin(1)

    tell(world.daemon, "fetch", moved)
    read()
    tell(world.daemon, "fate", lambda n: Error(n, AgentCrashed.code, "SIGKILL", {}))
    read()

    [error] = taken
    assert isinstance(error, AgentCrashed)


def test_an_agent_that_moved_is_asked_where_it_is_now(world, begin):
    taken, read = begin(0)

    tell(world.daemon, "fetch", moved)
    read()
    read()
    tell(world.daemon, "fetch", lambda n: Result(n, "data"))
    read()

    assert [type(found) for found in taken] == [Outcome]
    assert len(world.daemon.of_kind("locate")) == 2


def test_one_that_keeps_moving_is_given_up(world, begin):
    taken, read = begin(0)

    for _ in range(10):
        tell(world.daemon, "fetch", moved)
        read()
        read()

    [error] = taken
    assert isinstance(error, AgentNotFound)


# -- connections -----------------------------------------------------------------------------------
@pytest.fixture
def direct(world, monkeypatch):
    """A fetch on its way to the worker itself, which was not met before: session and outcome."""
    session = world.session()
    daemon = session.daemon.connect()
    runtime = SimpleNamespace(session_at=lambda _endpoint: session)
    monkeypatch.setattr("agentd.client.runtime.runtime", lambda: runtime)
    taken = []
    fetch((RESULT, KEY, AGENT, session.endpoint, 1), taken.append)
    daemon.pump()
    return session, taken


@pytest.mark.parametrize("why", [ConnectionLost("it stands still"), OSError(24, "too many files")])
def test_that_the_worker_cannot_be_met_is_told(world, direct, monkeypatch, why):
    """It is found out in a thread in which nobody sees what is raised."""
    session, taken = direct

    def meet(_place):
        raise why

    monkeypatch.setattr(session.workers, "link", meet)
    world.aside.run()

    [error] = taken
    assert type(error) is ConnectionLost
    assert str(why) in str(error)


def test_a_connection_that_breaks_is_made_again_and_the_worker_asked_anew(world, direct):
    session, taken = direct
    world.aside.run()
    [link] = session.workers.links.values()
    assert len(world.worker.of_kind("fetch")) == 1

    world.worker.connections[-1].break_off()
    link.pump()
    until = time.monotonic() + LONG_S
    while len(world.worker.of_kind("fetch")) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    tell(world.worker, "fetch", lambda n: Result(n, "data"))
    [link] = session.workers.links.values()
    link.pump()

    assert [type(found) for found in taken] == [Outcome]
    assert len(world.worker.connections) == 2
