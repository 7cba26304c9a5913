"""SIGSTOP and SIGCONT: a pause loses nothing; silence of the daemon is told in bounded time."""

import os
import signal
import time

import pytest

import agentd
from agentd.errors import TransportError
from tests.faults.harness import Thread, measured, wait_until
from tests.faults.victims import Victim


def host(daemon, *args):
    agent = Victim(*args, to_dist=daemon.endpoint)
    agentd.handle(agent).wait()
    return agent


def test_a_paused_worker_loses_nothing(start):
    daemon = start()
    agent = host(daemon)
    pid = agent.pid()
    os.kill(pid, signal.SIGSTOP)
    calls = [Thread(agent.add) for _ in range(4)]
    time.sleep(2)  # far more than three heartbeats

    os.kill(pid, signal.SIGCONT)

    assert sorted(call.done() for call in calls) == [1, 2, 3, 4]
    assert agent.pid() == pid
    assert agentd.handle(agent).info()["restarts"] == 0


def test_a_paused_daemon_holds_up_no_call_and_loses_no_agent(start):
    daemon = start()
    agent = host(daemon)
    daemon.signal(signal.SIGSTOP)
    try:
        assert agent.add() == 1  # straight to the worker
        time.sleep(2)
    finally:
        daemon.signal(signal.SIGCONT)

    assert agent.add() == 2
    wait_until(daemon.listens, "the daemon to answer")
    assert [a["id"] for a in daemon.client.agents()] == [agentd.handle(agent).id]


def test_a_silent_daemon_is_an_error_in_bounded_time(start):
    daemon = start()
    daemon.client.ping()
    daemon.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(TransportError):
            daemon.client.agents()
        measured("SIGSTOP of the daemon to ConnectionLost", time.monotonic() - began)
        assert time.monotonic() - began < 10
    finally:
        daemon.signal(signal.SIGCONT)
    wait_until(daemon.listens, "the daemon to answer")


def test_a_slow_answer_is_not_silence(start):
    """A question that takes long, asked after a quiet time: the daemon is well."""
    daemon = start(heartbeat_s=0.2, client_grace_s=60)
    agent = host(daemon)
    for _ in range(2):
        time.sleep(1.7)  # more than the silence that counts, less than the pause between two pings

        answer = daemon.client.logs(agentd.handle(agent).id, wait=2.5)

        assert answer["lines"] == []


def test_a_paused_client_keeps_its_agents(start):
    daemon = start(client_grace_s=1.0)
    process = daemon.run(
        "import sys, time; from tests.faults.victims import Victim\n"
        "one = Victim(to_dist=sys.argv[1]); one.add()\n"
        "time.sleep(60)",
        daemon.endpoint,
    )
    wait_until(lambda: [a for a in daemon.client.agents() if a["state"] == "ready"], "its agent")

    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)

    assert len(daemon.client.agents()) == 1
    process.kill()
    process.wait()
    wait_until(lambda: not daemon.client.agents(), "its agent to end")
