"""SIGTERM: what was taken is finished, nothing new is taken, exit code 0."""

import os
import signal
import time
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentdError, Draining, TransportError
from tests.faults.harness import LONG_S, Thread, dice, measured, wait_until
from tests.faults.victims import Victim


def host(daemon, *args):
    agent = Victim(*args, to_dist=daemon.endpoint)
    agentd.handle(agent).wait()
    return agent


def refuses(agent):
    try:
        agent.peek()
    except Draining:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_and_queued_calls_finish_and_new_ones_are_refused(start, number, tmp_path):
    daemon = start()
    agent, other, go = host(daemon), host(daemon), tmp_path / "go"
    calls = [agent.waits.submit(str(go), 3) for _ in range(3)]
    agent.peek()  # which came after them

    daemon.signal(number)

    wait_until(lambda: daemon.client.info()["draining"], "it to drain")
    for one in (agent, other):
        wait_until(lambda one=one: refuses(one), "its worker to hear of it")
    with pytest.raises(Draining):
        agent.add()
    with pytest.raises(Draining):
        Victim(to_dist={"endpoint": daemon.endpoint, "name": "new"})
    with pytest.raises(Draining):
        other.add()
    go.touch()
    assert [call.result(LONG_S) for call in calls] == [bytes(3)] * 3
    assert daemon.process.wait(20) == 0
    daemon.clean()


def test_an_idle_daemon_ends_at_once(start):
    daemon = start()
    daemon.workers_ready()
    began = time.monotonic()

    daemon.signal(signal.SIGTERM)

    assert daemon.process.wait(20) == 0
    measured("SIGTERM to the end of an idle daemon", time.monotonic() - began)
    daemon.clean()


def test_a_big_result_on_its_way_arrives(start, tmp_path):
    daemon = start()
    agent, go = host(daemon), tmp_path / "go"
    big = Thread(lambda: len(agent.waits(str(go), 100_000_000)))
    wait_until(Path(f"{go}.runs").exists, "it to run")

    daemon.signal(signal.SIGTERM)
    go.touch()

    assert big.done() == 100_000_000
    assert daemon.process.wait(20) == 0


def test_under_load_every_call_ends(start):
    daemon = start()
    agents = [host(daemon) for _ in range(4)]
    counts = dict.fromkeys(range(4), 0)

    def load(number):
        while True:
            agents[number].add()
            counts[number] += 1

    threads = [Thread(lambda n=n: load(n)) for n in counts]
    time.sleep(0.3)

    daemon.signal(signal.SIGTERM)

    for thread in threads:
        assert isinstance(thread.done(), Draining | TransportError), thread.outcome
    assert daemon.process.wait(20) == 0
    daemon.clean()


def test_a_second_signal_ends_at_once(start):
    daemon = start()
    agent = host(daemon)
    call = Thread(lambda: agent.slow(60))
    time.sleep(0.2)

    daemon.signal(signal.SIGTERM)
    wait_until(lambda: daemon.client.info()["draining"], "it to drain")
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)

    assert daemon.process.wait(20) == 0
    measured("second SIGTERM to the end", time.monotonic() - began)
    assert isinstance(call.done(), AgentdError)
    daemon.clean()


def test_when_the_grace_period_is_over_it_ends_anyway(start):
    daemon = start(shutdown_grace_s=0.5)
    agent = host(daemon)
    call = Thread(lambda: agent.slow(60))
    time.sleep(0.2)

    daemon.signal(signal.SIGTERM)

    assert daemon.process.wait(20) == 0
    assert isinstance(call.done(), AgentdError)
    daemon.clean()


def test_a_worker_that_dies_meanwhile_is_not_waited_for(start):
    daemon = start(workers=2, shutdown_grace_s=60)
    agent, other = host(daemon), host(daemon)
    pid = agent.pid()
    calls = [Thread(lambda: agent.slow(60)), Thread(lambda: other.slow(1.0))]
    time.sleep(0.2)
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: daemon.client.info()["draining"], "it to drain")

    os.kill(pid, signal.SIGKILL)

    assert isinstance(calls[0].done(), AgentdError)
    assert calls[1].done() == 1.0
    assert daemon.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.05, 0.15, 0.2, 0.25, 0.35, 0.5])
def test_while_it_starts(start, number, delay):
    daemon = start(wait=False)
    time.sleep(delay * dice().uniform(0.8, 1.2))

    daemon.signal(number)

    code = daemon.process.wait(20)
    # Before anything of ours runs, the interpreter answers signals its own way.
    assert code in (0, -number, 1)
    daemon.clean()
    if "Traceback" in daemon.said():
        assert "KeyboardInterrupt" in daemon.said()
        daemon.forget()


def test_stopped_while_an_agent_is_built(start):
    daemon = start()
    creation = Victim(0, 60, to_dist=daemon.endpoint)
    waiting = Thread(lambda: agentd.handle(creation).wait())
    wait_until(daemon.client.agents, "the agent to be taken")

    daemon.signal(signal.SIGTERM)

    assert daemon.process.wait(20) == 0
    assert isinstance(waiting.done(), AgentdError)
    daemon.clean()


def test_by_request_and_again_on_the_same_socket(start):
    daemon = start()
    host(daemon).add()
    for _ in range(2):
        daemon.client.stop()
        assert daemon.process.wait(20) == 0
        daemon.clean()
        daemon.start()
        assert host(daemon).add() == 1
