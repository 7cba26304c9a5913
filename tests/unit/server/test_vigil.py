"""Busy, hung and stopped workers are told apart."""

import pytest

from agentd.errors import ConnectionLost
from agentd.protocol import patience
from agentd.protocol.messages import Ping
from agentd.server.vigil import VOUCH_S, Vigil


class Watched:
    """A vigil over a world's workers, whose processes look as the test says."""

    def __init__(self, world):
        self.loop = world.loop
        self.workers = world.supervisor.workers
        self.worker = next(iter(self.workers.values()))
        self.state, self.used = "S", 1.0
        self.states = []
        """Those that are seen first."""
        self.relayed = False
        self.silent = []
        self.vigil = Vigil(
            world.loop,
            world.supervisor,
            1.0,
            lambda worker: self.relayed and worker is self.worker,
            lambda worker, error: self.silent.append((worker, error)),
            lambda _pid: (self.states.pop(0) if self.states else self.state, self.used),
            lambda _seconds: None,
        )

    def vouch(self, after=lambda: None):
        told = []
        self.vigil.vouch(self.worker.id, told.append)
        after()
        self.loop.pass_time(VOUCH_S)
        return told

    def pings(self):
        return [m for m in self.loop.told(self.worker) if isinstance(m, Ping)]


@pytest.fixture
def watched(world):
    return Watched(world())


def test_a_worker_that_answers_is_well(watched):
    assert watched.vouch(lambda: watched.vigil.answered(watched.worker)) == ["well"]
    assert len(watched.pings()) == 1


def test_a_worker_that_works_is_busy(watched):
    def work():
        watched.used += VOUCH_S

    assert watched.vouch(work) == ["busy"]


def test_so_is_one_that_would_work_if_it_were_given_a_processor(watched):
    def wait():
        watched.state = "R"

    assert watched.vouch(wait) == ["busy"]


def test_a_worker_that_does_nothing_hangs(watched):
    (told,) = watched.vouch()
    assert isinstance(told, ConnectionLost)
    assert "hangs" in str(told)


def test_so_does_one_that_waits_for_a_processor_now_and_then(watched):
    """As whatever wakes does on a machine that is overloaded."""

    def noise():
        watched.used += VOUCH_S / 4

    (told,) = watched.vouch(noise)
    assert isinstance(told, ConnectionLost)


def test_so_does_one_of_which_a_thread_is_met_awake(watched):
    """Those that wait for Python's lock wake up every few milliseconds."""

    def awake():
        watched.states = ["S", "S", "R", "R", "S"]  # stopped? what has it used? in line?

    (told,) = watched.vouch(awake)
    assert isinstance(told, ConnectionLost)
    assert watched.states == []


def test_a_stopped_worker_is_known_at_once(watched):
    watched.state = "T"
    told = []
    watched.vigil.vouch(watched.worker.id, told.append)
    assert "stopped" in str(told[0])


def test_a_worker_that_is_gone_is_told(watched):
    told = []
    watched.vigil.vouch("w99", told.append)
    assert isinstance(told[0], ConnectionLost)


def test_nobody_is_looked_after_without_need(watched):
    watched.loop.pass_time(100)
    assert watched.pings() == []


def test_a_silent_worker_with_relayed_calls_is_told_within_three_heartbeats(watched):
    watched.relayed = True
    watched.vigil.look_after()
    watched.loop.pass_time(3.0)
    ((worker, error),) = watched.silent
    assert worker is watched.worker
    assert "hangs" in str(error)


def test_a_worker_is_not_silent_whose_words_have_come_and_were_not_read_yet(watched):
    watched.relayed = True
    watched.loop.behind.append(watched.worker.channel)
    watched.vigil.look_after()
    watched.loop.pass_time(10.0)
    assert watched.silent == []
    watched.loop.behind.clear()
    watched.loop.pass_time(3.0)
    assert watched.silent


def test_the_looking_ends_with_the_relayed_calls(watched):
    watched.relayed = True
    watched.vigil.look_after()
    watched.loop.pass_time(0.6)
    watched.vigil.answered(watched.worker)
    watched.relayed = False
    watched.loop.pass_time(1)
    before = len(watched.pings())
    watched.loop.pass_time(10 * patience(1.0))
    assert len(watched.pings()) == before
    assert watched.silent == []


def test_a_busy_worker_with_relayed_calls_is_waited_for(watched):
    watched.relayed = True
    watched.vigil.look_after()
    for _ in range(100):
        watched.used += 0.1
        watched.loop.pass_time(0.1)
    assert watched.silent == []
    watched.loop.pass_time(6)
    assert watched.silent


@pytest.mark.parametrize("early", [0.01, 0.1, 0.2])
def test_who_asks_as_the_patience_with_it_ends_is_told_all_the_same(watched, early):
    watched.relayed = True
    watched.vigil.look_after()
    watched.loop.pass_time(0.5)  # it is pinged
    watched.loop.pass_time(patience(1.0) + 0.2 - early)
    watched.used += 10.0

    told = []
    watched.vigil.vouch(watched.worker.id, told.append)
    watched.loop.pass_time(2 * VOUCH_S)

    assert told == ["busy"]
