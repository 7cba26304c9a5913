"""kill -9 of the daemon, at any moment: nothing of it is left, and nobody waits for it."""

import signal
import time
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentdError, ConnectionLost, DaemonNotFound, TransportError
from agentd.transport import rundir
from tests.faults.harness import ROUNDS, Daemon, Thread, dice, measured, wait_until
from tests.faults.victims import Victim


def host(daemon, *args):
    agent = Victim(*args, to_dist=daemon.endpoint)
    agentd.handle(agent).wait()
    return agent


def test_an_idle_daemon_leaves_nothing(start):
    daemon = start()
    daemon.workers_ready()

    daemon.kill()

    measured("kill -9 of an idle daemon until all is gone", daemon.clean())


def test_callers_are_told_at_once(start):
    daemon = start()
    agent = host(daemon)
    call = Thread(lambda: agent.slow(60))
    creation = Victim(0, 60, to_dist=daemon.endpoint)
    waiting = Thread(lambda: agentd.handle(creation).wait())
    question = Thread(lambda: daemon.client.logs(agentd.handle(agent).id, 0, wait=25))
    time.sleep(0.2)
    began = time.monotonic()

    daemon.kill()

    assert isinstance(call.done(), ConnectionLost)
    measured("kill -9 of the daemon to ConnectionLost of a call", time.monotonic() - began)
    assert isinstance(waiting.done(), TransportError)
    assert isinstance(question.done(), TransportError)
    daemon.clean()
    with pytest.raises(DaemonNotFound):
        daemon.client.ping()
    with pytest.raises(TransportError):
        agent.add()


@pytest.mark.parametrize("delay", [0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6])
def test_killed_while_it_starts(start, delay):
    daemon = start(wait=False)
    time.sleep(delay * dice().uniform(0.8, 1.2))

    daemon.kill()

    wait_until(lambda: not daemon.processes(), "the end of its workers")
    before = folders(daemon)
    assert all(file.startswith("d-") for file in daemon.files())
    daemon.start()  # another one takes its place, and clears away what nobody else could
    assert host(daemon).add() == 1
    assert not set(before) & set(folders(daemon))
    daemon.signal(signal.SIGTERM)
    daemon.clean()


def test_what_a_daemon_left_that_was_killed_before_its_first_worker_ran_is_cleared_away(start):
    place = start()
    left = Path(place.folder) / "d-0123456789abcdef"
    left.mkdir(mode=0o700)
    (left / "back.sock").touch()
    place.kill()

    place.start()

    assert host(place).add() == 1
    assert not left.exists()
    assert len(folders(place)) == 1


def test_a_daemon_that_starts_leaves_the_folders_of_the_living_alone(start):
    one = start()
    agent = host(one)
    assert agent.add() == 1
    other = start(run_dir=one.folder)

    assert len(folders(one)) == 2
    own = Victim(to_dist={"endpoint": one.endpoint, "worker": "dedicated"})
    assert own.add() == 1  # a new worker reports in that folder
    assert agent.add() == 2
    other.kill()
    wait_until(lambda: len(folders(one)) == 1, "the other's folder to go")
    assert agent.add() == 3


def folders(daemon):
    """The daemons' own, below the run folder."""
    return [file for file in daemon.files() if "/" not in file and file.startswith("d-")]


def test_killed_under_load(start):
    daemon = start()
    agents = [host(daemon) for _ in range(4)]

    def load(agent):
        while True:
            agent.add()

    threads = [Thread(lambda a=a: load(a)) for a in agents]
    time.sleep(0.3)

    daemon.kill()

    for thread in threads:
        assert isinstance(thread.done(), TransportError), thread.outcome
    measured("kill -9 of a busy daemon until all is gone", daemon.clean())


def test_killed_while_workers_are_replaced(start):
    chance = dice()
    for _ in range(3 * ROUNDS):
        daemon = start(worker_backoff_s=0.01)
        agent = host(daemon)
        for _ in range(2):
            with pytest.raises(AgentdError):
                agent.kill()
        time.sleep(chance.uniform(0, 0.2))
        daemon.kill()
        daemon.clean()


def test_a_worker_stuck_in_c_code_ends_too(start):
    daemon = start()
    agent = host(daemon)
    call = Thread(agent.hold_interpreter)
    time.sleep(0.3)

    daemon.kill()

    measured("kill -9 of the daemon until a worker without interpreter is gone", daemon.clean(15))
    assert isinstance(call.done(), AgentdError)


def test_a_process_that_an_agent_started_ends_too(start):
    daemon = start()
    child = host(daemon).start_process()
    wait_until(lambda: child in daemon.processes(), "the process of the agent")

    daemon.kill()

    daemon.clean()


def test_a_new_daemon_takes_over_at_once(start):
    """However soon it comes: its predecessor's workers may still be clearing up."""
    daemon = start()
    for _ in range(4 * ROUNDS):
        daemon.workers_ready()
        daemon.kill()
        daemon.start()
        assert host(daemon).add() == 1
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(20) == 0
    daemon.clean()


def test_a_proxy_of_the_old_daemon_says_that_its_agent_is_gone(start):
    daemon = start()
    agent = host(daemon)
    agent.add()
    daemon.kill()
    daemon.start()

    with pytest.raises(AgentdError) as caught:
        agent.add()

    assert isinstance(caught.value, agentd.errors.AgentNotFound | TransportError)
    with pytest.raises(agentd.errors.AgentNotFound):
        agent.add()


def test_random_moments(start):
    chance = dice()
    for _ in range(4 * ROUNDS):
        daemon = start(wait=False)
        time.sleep(chance.uniform(0, 0.5))
        daemon.kill()
        try:
            daemon.clean()
        except AssertionError:
            # Killed in the moment before its first worker ran: the next daemon clears up after it.
            assert not daemon.processes()
            rundir.sweep(daemon.folder)
            daemon.clean()


def test_a_lock_file_that_was_removed_does_not_let_a_second_daemon_in(start):
    daemon = start()
    Path(f"{daemon.folder}/s.lock").unlink()
    second = Daemon(bind=(daemon.endpoint,), run_dir=daemon.folder)
    try:
        second.start(wait=False)
        assert second.process.wait(20) == 1
        assert "EndpointInUse" in second.said()
        wait_until(daemon.listens, "the first one to answer")
    finally:
        second.end()
