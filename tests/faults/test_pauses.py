"""SIGSTOP and SIGCONT: a pause loses nothing; silence of the daemon is told in bounded time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import agentd
from agentd.errors import CallTimeout, ConnectionLost, TransportError
from agentd.transport.process import activity
from tests.faults.harness import Thread, measured, pause, wait_until
from tests.faults.victims import Victim

BEAT_S = 0.5
BOUND_S = 3 * BEAT_S + 3.0
"""Within three heartbeats, which count as one second at least; and a busy machine."""


def host(daemon, *args):
    agent = Victim(*args, to_dist=daemon.endpoint)
    agentd.handle(agent).wait()
    return agent


def test_a_paused_worker_loses_nothing(start):
    daemon = start()
    agent = host(daemon)
    pid = agent.pid()
    pause(pid)
    calls = [Thread(agent.add) for _ in range(4)]
    time.sleep(1)  # less than would count as silence

    os.kill(pid, signal.SIGCONT)

    assert sorted(call.done() for call in calls) == [1, 2, 3, 4]
    assert agent.pid() == pid
    assert agentd.handle(agent).info()["restarts"] == 0


@pytest.fixture(params=["direct", "relayed"])
def client(request, start):
    """A client that goes straight to the workers, and one that has the daemon relay."""
    daemon = start(heartbeat_s=BEAT_S, workers=1)
    return agentd.connect(daemon.endpoint, direct=request.param == "direct")


def lost_soon(call):
    began = time.monotonic()
    with pytest.raises(ConnectionLost) as caught:
        call()
    measured("silence of the worker to ConnectionLost", time.monotonic() - began)
    assert time.monotonic() - began < BOUND_S
    return str(caught.value)


FORMS = {
    "blocking": lambda agent: agent.add(100),
    "submit": lambda agent: agent.add.submit(100).result(),
    "stream": lambda agent: list(agent.count.stream(3)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_stopped_worker_is_told_and_does_not_do_later_what_was_given_up(client, form):
    agent = client.create("tests.faults.victims:Victim")
    pid = agent.pid()
    pause(pid)
    try:
        assert "stopped" in lost_soon(lambda: form(agent))
        assert "stopped" in lost_soon(lambda: form(agent))  # of a connection made anew, too
    finally:
        os.kill(pid, signal.SIGCONT)

    began = time.monotonic()
    wait_until(lambda: answers(agent), "the same proxy to work again")
    measured("SIGCONT of the worker to the next answer", time.monotonic() - began)
    assert agent.pid() == pid
    assert agent.value == 0
    assert agentd.handle(agent).info()["restarts"] == 0


def answers(agent):
    try:
        return agent.pid()
    except TransportError:
        return 0


def test_a_worker_whose_loop_hangs_is_told(client):
    agent = client.create("tests.faults.victims:Victim")
    agent.pid()
    hanging = Thread(lambda: agent.hang_in_c(8))  # twice what it takes, on a noisy machine
    assert "hangs" in str(hanging.done())
    wait_until(lambda: answers(agent), "the loop to go on")


def test_a_worker_that_works_without_a_pause_is_waited_for(client):
    agent = client.create("tests.faults.victims:Victim")
    agent.pid()
    slow = Thread(lambda: agent.work_in_c(7))
    time.sleep(0.5)
    next_one = Thread(agent.add)  # an open connection
    third = Thread(lambda: agentd.connect(client.endpoint).get(agentd.handle(agent).id).add())

    assert slow.done() > 3  # more than what counts as silence
    assert {next_one.done(), third.done()} == {1, 2}


def test_a_call_whose_deadline_passed_while_its_worker_stood_still_never_starts(client):
    agent = client.create("tests.faults.victims:Victim")
    pid = agent.pid()
    pause(pid)
    try:
        calls = [Thread(agent.add.options(timeout=0.3)) for _ in range(5)]
        assert [type(call.done()) for call in calls] == [CallTimeout] * 5
    finally:
        os.kill(pid, signal.SIGCONT)

    assert agent.value == 0


def test_what_a_paused_daemon_was_asked_and_nobody_waits_for_is_not_done(start):
    daemon = start(heartbeat_s=BEAT_S)
    daemon.client.ping()
    daemon.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TransportError):
            daemon.client.create("tests.faults.victims:Victim", options={"name": "ghost"})
    finally:
        daemon.signal(signal.SIGCONT)

    wait_until(daemon.listens, "the daemon to answer")
    assert daemon.client.agents() == []


def test_kill_ends_an_agent_whose_worker_is_stuck(start):
    daemon = start(workers=1)
    agent = daemon.client.create("tests.faults.victims:Victim")
    neighbour = daemon.client.create("tests.faults.victims:Victim", 7)
    pid = agent.pid()
    held = Thread(agent.hold_interpreter)
    time.sleep(0.5)

    agentd.handle(agent).kill()

    assert isinstance(held.done(), agentd.errors.AgentdError)
    assert neighbour.value == 7
    assert neighbour.pid() != pid


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


def test_a_process_that_gets_no_processor_is_at_work():
    """On an overloaded machine little processor time does not mean that a worker hangs."""
    one = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{one}}})\nwhile True: pass"
    crowd = [subprocess.Popen([sys.executable, "-S", "-c", program]) for _ in range(4)]
    try:
        pid = crowd[0].pid
        os.setpriority(os.PRIO_PROCESS, pid, 19)  # the others get nearly all of it

        def starves():
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks = sum(map(int, fields[11:13]))
            return activity(pid)[1] > 5 * (ticks / os.sysconf("SC_CLK_TCK") + 0.1)

        wait_until(starves, "it to have stood in line for most of its life")
    finally:
        for process in crowd:
            process.kill()
            process.wait()
