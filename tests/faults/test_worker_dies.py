"""A worker dies: its open calls end at once and say why, everything else goes on."""

import contextlib
import os
import signal
import time

import pytest

import agentd
from agentd.errors import AgentCrashed, AgentNotFound
from tests.faults.harness import ROUNDS, Thread, dice, measured, wait_until
from tests.faults.victims import Maker, Victim


def host(daemon, *args, **options):
    agent = Victim(*args, to_dist={"endpoint": daemon.endpoint, **options})
    agentd.handle(agent).wait()
    return agent


def crash(call, *args):
    """The error of a call that kills its worker."""
    began = time.monotonic()
    with pytest.raises(AgentCrashed) as caught:
        call(*args)
    measured(f"{call.__name__} to AgentCrashed", time.monotonic() - began)
    return caught.value


def test_an_exit_code_and_the_last_words_are_told(start):
    agent = host(start())

    error = crash(agent.leave, 7)

    assert (error.exit_code, error.signal) == (7, None)
    assert "last words" in error.stderr_tail
    assert "exit code 7" in str(error)
    assert error.agent == agentd.handle(agent).id


def test_a_segfault_tells_its_signal_and_the_python_stack(start):
    error = crash(host(start()).segfault)

    assert error.signal == "SIGSEGV"
    assert "string_at" in error.stderr_tail


def test_kill_minus_nine_tells_its_signal_and_an_unfinished_line(start):
    error = crash(host(start()).kill)

    assert error.signal == "SIGKILL"
    assert "no end of line" in error.stderr_tail


def test_running_out_of_memory_is_an_error_of_the_call_only(start):
    daemon = start(workers=1)
    agent = host(daemon)
    pid = agent.pid()

    with pytest.raises(MemoryError):
        agent.hoard()

    assert agent.pid() == pid


def test_the_agent_is_back_as_it_was_made_and_it_is_counted(start):
    daemon = start()
    local = Victim()
    local.add(41)
    spec, moved = host(daemon, 5), local.to_dist(endpoint=daemon.endpoint)
    assert (spec.add(), moved.add(100)) == (6, 141)

    began = time.monotonic()
    for agent in (spec, moved):
        crash(agent.kill)
    assert spec.add() == 6
    assert moved.add() == 42
    measured("two crashes until both agents answer", time.monotonic() - began)

    assert agentd.handle(spec).info()["restarts"] == 1
    assert agentd.handle(moved).info()["epoch"] == 2


def test_siblings_in_other_workers_notice_nothing(start):
    daemon = start(workers=2)
    victim, bystander = host(daemon), host(daemon)
    assert victim.pid() != bystander.pid()
    bystander.add()
    pid = bystander.pid()
    call = Thread(lambda: bystander.slow(0.5))

    crash(victim.kill)

    assert call.done() == 0.5
    assert (bystander.pid(), bystander.add()) == (pid, 2)
    assert agentd.handle(bystander).info()["restarts"] == 0


def test_running_and_queued_calls_of_the_same_worker_end_at_once(start):
    daemon = start(workers=1)
    victim, sibling = host(daemon), host(daemon)
    pid = victim.pid()
    calls = [Thread(lambda a=a: a.slow(60)) for a in (victim, sibling) for _ in range(4)]
    time.sleep(0.2)  # those that did not reach it yet would be repeated

    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)

    for call in calls:
        assert isinstance(call.done(), AgentCrashed)
    measured("kill -9 to eight AgentCrashed", time.monotonic() - began)
    assert (victim.add(), sibling.add()) == (1, 1)


def test_a_relayed_call_ends_too(start):
    daemon = start()
    agent = host(daemon)
    relayed = agentd.connect(daemon.endpoint, direct=False).get(agentd.handle(agent).id)
    call = Thread(lambda: relayed.slow(60))
    pid = agentd.handle(agent).info()["pid"]
    time.sleep(0.2)  # let the call reach the agent

    os.kill(pid, signal.SIGKILL)

    assert isinstance(call.done(), AgentCrashed)


def test_a_maker_and_its_agent_die_together_in_one_worker(start):
    daemon = start(workers=1, restart_limit=0)
    maker = Maker(to_dist=daemon.endpoint)
    made = maker.make()

    error = crash(maker.leave)

    assert error.exit_code == 3
    with pytest.raises(AgentNotFound, match="restart limit"):
        maker.make()
    with pytest.raises((AgentNotFound, AgentCrashed)):
        made.add()
    assert host(daemon).add() == 1  # the daemon is well


def test_a_process_that_an_agent_started_ends_with_its_worker(start):
    daemon = start()
    agent = host(daemon)
    child = agent.start_process()

    crash(agent.kill)

    wait_until(lambda: child not in daemon.processes(), "the child to end")


def test_deleting_an_agent_that_waits_for_its_worker_takes_no_time(start):
    daemon = start(worker_backoff_s=20)
    agent = host(daemon)
    crash(agent.kill)
    with pytest.raises(AgentCrashed):
        agent.kill()  # the second death of it waits 20 s
    began = time.monotonic()

    agentd.handle(agent).delete()

    assert time.monotonic() - began < 5


def test_random_kills_under_load(start):
    """Eight threads call; workers are killed at random moments."""
    chance = dice()
    daemon = start(workers=2, restart_limit=1_000_000, worker_backoff_s=0.01)
    kills = 12 * ROUNDS
    agents = [host(daemon) for _ in range(8)]
    for agent in agents:
        agent.add()
    stop = []
    outcomes = {"results": 0, "crashes": 0}

    def load(agent):
        while not stop:
            try:
                agent.add()
                outcomes["results"] += 1
            except AgentCrashed as error:
                assert error.signal == "SIGKILL", error
                outcomes["crashes"] += 1

    threads = [Thread(lambda a=a: load(a)) for a in agents]
    for _ in range(kills):
        time.sleep(chance.uniform(0, 0.05))
        pids = [w["pid"] for w in daemon.client.info()["workers"] if w["pid"]]
        if pids:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(chance.choice(pids), signal.SIGKILL)
    stop.append(True)

    for thread in threads:
        assert thread.done() is None, thread.outcome
    for agent in agents:
        assert agent.add() >= 1
    print(f"{kills} kills: {outcomes}")
    assert outcomes["results"] > 0
    assert sum(agentd.handle(a).info()["restarts"] for a in agents) > 0
