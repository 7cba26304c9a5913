"""No descriptors, no processes left: workers cannot be started, the daemon stays and recovers."""

import os
import resource
import time

import pytest

from agentd.errors import AgentdError
from tests.faults.harness import files_of, wait_until
from tests.faults.victims import Victim


def limit(daemon, what, soft):
    _, hard = resource.prlimit(daemon.process.pid, what)
    resource.prlimit(daemon.process.pid, what, (soft, hard))


def test_without_descriptors_it_serves_what_it_has_and_recovers(start):
    daemon = start(worker_backoff_s=0.05, worker_backoff_max_s=0.2)
    daemon.workers_ready()
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    usual = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[0]

    for spare in (0, 3, 6, 9, 12, 20, 40):  # so that it runs out at each of its steps
        limit(daemon, resource.RLIMIT_NOFILE, files_of(daemon.process.pid) + spare)
        own = Victim(to_dist={"endpoint": daemon.endpoint, "worker": "dedicated"})
        wait_until(lambda: daemon.client.ping() is not None, "it to answer")
        time.sleep(0.1)
        limit(daemon, resource.RLIMIT_NOFILE, usual)
        assert own.add() == 1
    assert "cannot start a worker" in daemon.said()

    assert agent.add() == 2
    del own
    assert daemon.client.info()["workers"]


def test_without_descriptors_a_dead_worker_is_replaced_later(start):
    daemon = start(workers=1, worker_backoff_s=0.05, worker_backoff_max_s=0.2)
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()
    usual = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[0]
    limit(daemon, resource.RLIMIT_NOFILE, files_of(daemon.process.pid) - 4)

    with pytest.raises(AgentdError):
        agent.kill()
    wait_until(lambda: "cannot start a worker" in daemon.said(), "the failure to be told")
    limit(daemon, resource.RLIMIT_NOFILE, usual)

    assert agent.add() == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="the limit on processes does not hold for root")
def test_without_processes_it_serves_what_it_has_and_recovers(start):
    daemon = start(worker_backoff_s=0.05, worker_backoff_max_s=0.2)
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()
    usual = resource.prlimit(daemon.process.pid, resource.RLIMIT_NPROC)[0]
    limit(daemon, resource.RLIMIT_NPROC, 1)

    with pytest.raises(AgentdError):
        agent.kill()
    wait_until(lambda: "cannot start a worker" in daemon.said(), "the failure to be told")
    limit(daemon, resource.RLIMIT_NPROC, usual)

    assert agent.add() == 1
