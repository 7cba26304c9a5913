"""Results: forgotten ones cost nothing, forks and crashes confuse none."""

import gc
import os
import pickle
import time
from pathlib import Path

import pytest

from agentd.client.proxy import session_of, target
from agentd.errors import AgentCrashed, ResultExpired
from tests.faults.harness import LONG_S, measured, wait_until
from tests.faults.victims import Victim


def resident(pid: int) -> int:
    """Bytes of memory that the process uses."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("fetched", [True, False])
def test_twenty_thousand_submits_leave_memory_flat(start, fetched):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    worker = agent.pid()

    def burst(count):
        for _ in range(count // 500):
            results = [agent.add.submit(1) for _ in range(500)]
            if fetched:
                assert results[-1].result(LONG_S) > 0
                for result in results:
                    result.result(LONG_S)
            else:
                agent.add(0)
            del results
        gc.collect()

    burst(4000)
    here, there = resident(os.getpid()), resident(worker)
    burst(20_000)
    grown = resident(os.getpid()) - here, resident(worker) - there
    print(f"measured: 20,000 submits: client {grown[0] >> 10} KiB, worker {grown[1] >> 10} KiB")
    assert max(grown) < 24 << 20  # a leak of 2 KiB a call would be 40


def test_big_results_that_nobody_wants_are_let_go(start):
    """Less than a worker may hold: they go as it is told, not as the bound has to."""
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    worker = agent.pid()
    agent.big(8 << 20)
    before = resident(worker)
    for _ in range(24):
        agent.big.submit(8 << 20).result(LONG_S)
    gc.collect()
    wait_until(lambda: resident(worker) - before < 64 << 20, "the worker to let go")


def test_what_is_small_keeps_no_memory_of_big_results_that_went(start):
    """They are let go, and yet the worker would be as big as ever."""
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    worker = agent.pid()
    before = resident(worker)
    results = [agent.big_below_small.submit(8 << 20) for _ in range(12)]
    agent.add()  # after those
    assert resident(worker) - before > 80 << 20
    del results
    gc.collect()
    wait_until(lambda: resident(worker) - before < 48 << 20, "the worker to shrink")


def test_a_released_result_has_expired_and_is_never_empty(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    result = agent.add.submit(1)
    wire = pickle.dumps(result)
    result._agentd_sending.release()
    session_of(target(agent)).beat(time.monotonic())

    def expired():
        # Releases are told in batches, and with the next heartbeat at the latest.
        try:
            return pickle.loads(wire).result(LONG_S) != 1
        except ResultExpired:
            return True

    wait_until(expired, "the release to be told", LONG_S)
    with pytest.raises(ResultExpired):
        agent.add(pickle.loads(wire))


def test_a_result_handed_on_before_its_agent_was_there_tells_of_the_crash(start):
    """Its reference does not say which start of the agent has it: it is told all the same."""
    daemon = start()
    maker = Victim(init_s=0.5, to_dist={"endpoint": daemon.endpoint, "worker": "dedicated"})
    died = maker.kill.submit()
    wire = pickle.dumps(died)
    with pytest.raises(AgentCrashed):
        died.result(LONG_S)
    assert maker.add(1) == 1
    with pytest.raises(AgentCrashed):
        pickle.loads(wire).result(LONG_S)


def test_results_die_with_their_worker(start):
    daemon = start()
    maker = Victim(to_dist={"endpoint": daemon.endpoint, "worker": "dedicated"})
    user = Victim(to_dist={"endpoint": daemon.endpoint, "worker": "dedicated"})
    assert maker.add(0) + user.add(0) == 0
    result = maker.add.submit(5)
    maker.add(0)
    wire = pickle.dumps(result)
    with pytest.raises(AgentCrashed):
        maker.kill()
    assert maker.add(1) == 1  # it is there again, and knows nothing of that
    with pytest.raises(AgentCrashed):
        user.add(pickle.loads(wire))
    with pytest.raises(AgentCrashed):
        pickle.loads(wire).result(LONG_S)
    assert result.result(LONG_S) == 5  # its answer was here already


def test_open_results_fail_with_their_worker(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.add(0)
    running, queued = agent.slow.submit(60), agent.add.submit(1)
    os.kill(daemon.workers_ready()[0]["pid"], 9)
    for result in (running, queued):
        with pytest.raises(AgentCrashed):
            result.result(LONG_S)


def test_a_forked_child_makes_its_own_calls_and_lets_go_of_none(start):
    """Results that the child inherits are its parent's; the child may use the same proxies."""
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    results = [agent.add.submit(1) for _ in range(300)]
    agent.add(0)  # after those
    fresh = Victim(10, to_dist=daemon.endpoint)  # the child need not know that it is ready
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            results.clear()
            gc.collect()
            told = agent.add.submit(0).result(LONG_S), fresh.add.submit(1).result(LONG_S)
            told += (agent.add(0),)
            os.write(writing, repr(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    started = time.monotonic()
    told = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    measured("a forked child's first calls", time.monotonic() - started)
    assert told == "(300, 11, 300)"
    user = Victim(to_dist=daemon.endpoint)
    assert user.add(results[41]) == 42  # not let go of by the child
    assert [r.result(LONG_S) for r in results] == list(range(1, 301))
