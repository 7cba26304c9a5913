import errno
import os
from pathlib import Path

import pytest

from agentd.protocol.messages import Start
from agentd.server.supervisor import STABLE_S
from agentd.transport.counted import Counted
from agentd.transport.recorder import Recorder


def test_the_pool_is_started_and_reports(world):
    one = world(workers=3, enlisted=False)
    assert [w.state for w in one.pool] == ["starting"] * 3

    one.enlist_all()

    assert [w.state for w in one.pool] == ["ready"] * 3


def test_a_report_comes_once(world):
    one = world(workers=1)
    worker = one.pool[0]
    one.die(worker)

    one.enlist(worker)

    assert worker.state == "dead"


def test_what_is_said_before_a_worker_reports_is_kept_for_it(world):
    one = world(workers=1, enlisted=False)
    agent = one.create(1)
    assert one.loop.sent == []

    one.enlist_all()

    (message,) = one.loop.told(one.pool[0])
    assert isinstance(message, Start)
    assert message.agent == agent.id


def test_agents_go_to_the_least_loaded(world):
    one = world(workers=3)
    agents = [one.create(n) for n in range(1, 10)]

    assert sorted(len(w.agents) for w in one.pool) == [3, 3, 3]
    one.hosting.delete(agents[0], "x")
    one.hosting.dropped(one.worker_of(agents[0]), agents[0].id, 1)
    assert one.create(20).worker == agents[0].worker


def test_a_dedicated_agent_has_a_worker_of_its_own_which_ends_with_it(world):
    one = world()
    agent = one.ready(one.create(1, placement="dedicated"))
    (worker,) = one.own
    assert agent.worker == worker.id
    one.enlist_all()

    one.hosting.delete(agent, "x")
    one.hosting.dropped(worker, agent.id, 1)

    assert worker.process.asked
    assert not worker.process.killed
    one.loop.pass_time(5)
    assert worker.process.killed


def test_the_first_death_costs_no_time_and_the_next_ones_more_and_more(world):
    one = world(workers=1, worker_backoff_s=0.125, worker_backoff_max_s=0.5)
    waits = []
    for _ in range(6):
        one.die(one.pool[0])
        waited = 0.0
        while one.pool[0].state == "waiting":
            one.loop.pass_time(0.0625)
            waited += 0.0625
        waits.append(waited)
        one.enlist_all()

    assert waits == [0, 0.125, 0.25, 0.5, 0.5, 0.5]
    assert one.pool[0].restarts == 6


def test_a_worker_that_lived_long_is_replaced_at_once(world):
    one = world(workers=1)
    for _ in range(5):
        one.loop.pass_time(STABLE_S + 1)
        one.die(one.pool[0])
        assert one.pool[0].state == "starting"
        one.enlist_all()


def test_a_new_agent_does_not_wait_with_a_worker_that_waits(world):
    one = world(workers=2, worker_backoff_s=10)
    busy = one.pool[0]
    one.create(1)
    if not busy.agents:
        busy = one.pool[1]
    for _ in range(2):
        one.die(next(w for w in one.pool if w is not busy))
        one.enlist_all()
    assert {w.state for w in one.pool} == {"ready", "waiting"}

    assert one.create(2).worker == busy.id


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EAGAIN, errno.ENOMEM])
def test_a_worker_that_cannot_be_started_is_tried_again(world, code):
    one = world(workers=1, enlisted=False)
    one.launcher.broken = OSError(code, os.strerror(code))
    one.die(one.pool[0])
    assert one.pool[0].state == "waiting"
    one.loop.pass_time(60)
    assert one.pool[0].state == "waiting"

    one.launcher.broken = None
    one.loop.pass_time(60)

    assert one.pool[0].state == "starting"


def test_what_a_dead_worker_left_is_cleared_away(world):
    one = world(workers=1)
    worker = one.pool[0]
    assert Path(worker.address.removeprefix("unix://")).is_socket()

    one.die(worker)

    left = sorted(path.name for path in one.folder.iterdir())
    assert left == ["w2.run", "w2.sock"]  # of its heir
    assert worker.process.killed  # its group


def test_while_it_drains_nobody_is_replaced(world):
    one = world(workers=2)
    one.supervisor.draining = True

    one.die(one.pool[0])

    assert len(one.pool) == 1


def test_at_the_end_every_worker_is_asked_and_then_made(world):
    one = world(workers=2)
    processes = list(one.launcher.started)

    one.supervisor.end_all()

    assert all(p.asked and not p.killed for p in processes)
    one.loop.pass_time(2)
    assert all(p.killed for p in processes)


def test_last_words_are_read_although_somebody_holds_the_pipe_open(world):
    one = world(workers=1)
    worker = one.pool[0]
    agent = one.ready(one.create(1))
    os.write(worker.process.err_end, b"\0" + agent.id.hex().encode() + b" mine\nnobody's")

    one.die(worker, agent.id)

    assert agent.fates[1].stderr_tail == "mine\nnobody's"


def test_two_versions_of_a_module_never_meet_in_one_worker(world):
    one = world(workers=2)
    choose = one.supervisor.choose
    first = choose(dedicated=False, modules={"helpers": b"1"})
    first.agents.add(b"a")
    for _ in range(4):
        second = choose(dedicated=False, modules={"helpers": b"2"})
        assert second is not first
        second.agents.add(b"b")
    assert choose(dedicated=False, modules={"helpers": b"1"}) is first
    assert len(one.pool) == 2


def test_a_further_version_takes_the_place_of_an_idle_worker(world):
    one = world(workers=1)
    old = one.supervisor.choose(dedicated=False, modules={"helpers": b"1"})

    new = one.supervisor.choose(dedicated=False, modules={"helpers": b"2"})

    assert new is not old
    assert old.ending
    assert [w for w in one.pool if not w.ending] == [new]


def test_a_worker_too_many_ends_with_its_last_agent(world):
    one = world(workers=1)
    old = one.supervisor.choose(dedicated=False, modules={"helpers": b"1"})
    old.agents.add(b"a")
    new = one.supervisor.choose(dedicated=False, modules={"helpers": b"2"})
    new.agents.add(b"b")
    assert not old.ending

    one.supervisor.release(old, b"a")

    assert old.ending
    assert not new.ending


def test_what_workers_count_is_summed_over_their_deaths(world):
    one = world(workers=2)
    first, second = one.pool

    def count(worker, refused, cut_off):
        book = Recorder(os.open(worker.recorder, os.O_RDWR))
        book.count(Counted(connections_refused=refused, disconnected_unread=cut_off))

    both = Counted(connections_refused=3, disconnected_unread=30)
    count(first, 1, 10)
    count(second, 2, 20)
    assert one.supervisor.counted() == both
    one.die(first)
    assert not Path(first.recorder).exists()
    assert one.supervisor.counted() == both
    one.die(second)
    assert one.supervisor.counted() == both
