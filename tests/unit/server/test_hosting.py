"""Decisions: who is charged with a death, who restarts where, who is told what."""

import pytest

from agentd.errors import (
    AgentCrashed,
    AgentCreationError,
    AgentNotFound,
    ConfigError,
    ConnectionLost,
    Draining,
    NameTaken,
    Overloaded,
)
from agentd.protocol.messages import Create, Drop, Ready, StartFailed
from agentd.server.lifecycle import State
from tests.unit.server.fakes import World


def asked(one, agent):
    """What somebody who waits for the agent gets."""
    got = []
    one.hosting.when_settled(agent.id, lambda outcome, _payload: got.append(outcome))
    return got


def test_from_request_to_ready(world):
    one = world()
    agent = one.create(1)
    got = asked(one, agent)
    assert (agent.state, got) == (State.STARTING, [])

    one.ready(agent)

    assert agent.state is State.READY
    assert isinstance(got[0], Ready)
    assert got[0].address == one.worker_of(agent).address
    assert asked(one, agent) == got  # at once


def test_a_report_of_an_earlier_epoch_is_ignored(world):
    one = world(workers=1)
    agent = one.ready(one.create(1))
    old = one.pool[0]
    one.die(old, agent.id)

    from agentd.protocol.messages import Started

    one.hosting.started(old, Started(agent.id, 1, 1))

    assert (agent.state, agent.epoch) == (State.STARTING, 2)


def test_a_failed_init_is_told_now_and_later(world):
    one = world()
    agent = one.create(1)
    got = asked(one, agent)
    facts = {"type_name": "ValueError", "message": "secret"}

    one.hosting.start_failed(
        one.worker_of(agent), StartFailed(agent.id, 1, "ValueError: secret", facts), [b"pickle"]
    )

    assert isinstance(got[0], AgentCreationError)
    assert isinstance(asked(one, agent)[0], AgentCreationError)
    assert "secret" not in one.directory.tombstone(agent.id).reason


def test_only_the_one_that_ran_is_charged_and_isolated(world):
    one = world(workers=1)
    culprit, innocent = one.ready(one.create(1)), one.ready(one.create(2))

    one.die(one.pool[0], culprit.id)

    assert (len(culprit.charged), culprit.isolated) == (1, True)
    assert (len(innocent.charged), innocent.isolated) == (0, False)
    assert one.worker_of(culprit).dedicated
    assert not one.worker_of(innocent).dedicated
    assert culprit.restarts == innocent.restarts == 1

    one.enlist_all()
    one.ready(culprit), one.ready(innocent)
    one.die(one.worker_of(culprit), culprit.id)

    assert innocent.restarts == 1


def test_the_budget_is_spent_by_deaths_within_the_window(world):
    one = world(workers=1, restart_limit=2, restart_window_s=60)
    agent = one.create(1)
    for _ in range(2):
        one.loop.pass_time(1)
        one.enlist_all()
        one.ready(agent)
        one.die(one.worker_of(agent), agent.id)
    got = asked(one, agent)
    one.loop.pass_time(1)
    one.enlist_all()
    one.ready(agent)
    got = asked(one, agent)

    one.die(one.worker_of(agent), agent.id)

    with pytest.raises(AgentNotFound, match="died 3 times within 60 s"):
        one.directory.get(agent.id)
    assert isinstance(got[0], Ready)
    assert isinstance(asked(one, agent)[0], AgentNotFound)
    assert isinstance(one.directory.fate(agent.id, 3), AgentNotFound | AgentCrashed)


def test_slow_deaths_are_forgiven(world):
    one = world(workers=1, restart_limit=2, restart_window_s=60)
    agent = one.create(1)
    for _ in range(10):
        one.loop.pass_time(61)
        one.enlist_all()
        one.ready(agent)
        one.die(one.worker_of(agent), agent.id)

    assert agent.restarts == 10
    assert len(agent.charged) == 1


def test_callers_learn_how_an_epoch_ended(world):
    one = world(workers=1)
    agent = one.ready(one.create(1))
    told = []
    one.hosting.when_fate_known(agent.id, 1, told.append)
    assert told == []

    one.die(one.pool[0], agent.id, code=7)

    one.hosting.when_fate_known(agent.id, 1, told.append)
    assert [type(t) for t in told] == [AgentCrashed] * 2
    assert told[0].exit_code == 7


def test_a_connection_that_broke_alone_is_told_as_that(world):
    one = world()
    agent = one.ready(one.create(1))
    told = []
    for _ in range(2):
        one.hosting.when_fate_known(agent.id, 1, told.append)

    one.loop.pass_time(5)

    assert [type(t) for t in told] == [ConnectionLost] * 2


def test_deleting_tells_everybody(world):
    one = world()
    agent = one.ready(one.create(1))
    done, told = [], []
    one.hosting.when_fate_known(agent.id, 1, told.append)

    one.hosting.delete(agent, "enough", lambda: done.append(1))
    one.hosting.delete(agent, "again", lambda: done.append(2))
    assert isinstance(one.loop.told(one.worker_of(agent))[-1], Drop)
    assert done == []
    one.hosting.dropped(one.worker_of(agent), agent.id, 1)

    assert done == [1, 2]
    assert isinstance(told[0], AgentNotFound)
    with pytest.raises(AgentNotFound, match="enough"):
        one.directory.get(agent.id)


def test_deleting_while_its_worker_dies_is_done(world):
    one = world(workers=1)
    agent = one.ready(one.create(1))
    done = []
    one.hosting.delete(agent, "enough", lambda: done.append(1))

    one.die(one.pool[0])

    assert done == [1]
    assert len(one.directory) == 0


def test_deleting_what_waits_for_its_worker_takes_no_time(world):
    one = world(workers=1, worker_backoff_s=20)
    agent = one.ready(one.create(1))
    for _ in range(2):
        one.die(one.worker_of(agent), agent.id)
        one.enlist_all()
    assert one.worker_of(agent).state == "waiting"
    done = []

    one.hosting.delete(agent, "enough", lambda: done.append(1))

    assert done == [1]
    assert one.own == []
    one.loop.pass_time(60)  # the start that was planned does not happen
    assert one.own == []


def test_what_an_agent_made_ends_with_it(world):
    one = world()
    maker = one.ready(one.create(1))
    child = one.ready(one.create(2, parent=maker.id))
    grandchild = one.ready(one.create(3, parent=child.id))
    stays = one.ready(one.create(4, parent=maker.id, lifetime="daemon"))

    one.hosting.delete(maker, "enough")
    for agent in (maker, child, grandchild):
        one.hosting.dropped(one.worker_of(agent), agent.id, 1)

    assert list(one.directory) == [stays]


@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 2, 1), (2, 1, 3)])
def test_a_family_that_dies_in_one_worker_is_buried_once(world, numbers):
    """In whatever order they are looked at: the maker is given up or was being deleted."""
    for given_up in (False, True):
        one = world(workers=1, restart_limit=0)
        first, second, third = numbers
        maker = one.ready(one.create(first))
        child = one.ready(one.create(second, parent=maker.id))
        one.ready(one.create(third, parent=child.id))
        if not given_up:
            one.hosting.delete(maker, "enough")
            one.hosting.delete(child, "enough")

        one.die(one.pool[0], *([maker.id] if given_up else []))
        one.enlist_all()
        for agent in list(one.directory):
            one.hosting.dropped(one.worker_of(agent), agent.id, agent.epoch)

        assert len(one.directory) == 0


def test_names(world):
    one = world()
    agent = one.create(1, name="tally")
    with pytest.raises(NameTaken):
        one.create(2, name="tally")
    spec = Create(3, b"3" * 16, "m:C", "spec", "data", name="tally", get_if_exists=True)
    assert one.hosting.create(spec, [], b"") == (agent, True)
    other = Create(4, b"4" * 16, "m:Other", "spec", "data", name="tally", get_if_exists=True)
    with pytest.raises(NameTaken, match="m:C"):
        one.hosting.create(other, [], b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent": b"short"},
        {"mode": "both"},
        {"lifetime": "forever"},
        {"placement": "moon"},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\nb"},
    ],
)
def test_a_wrong_request_is_refused(world, wrong):
    one = world()
    values = {"id": 1, "agent": b"1" * 16, "cls": "m:C", "mode": "spec", "codec": "data", **wrong}
    with pytest.raises(ConfigError):
        one.hosting.create(Create(**values), [], b"")
    assert len(one.directory) == 0


def test_while_it_drains_nothing_new_is_taken_and_nothing_restarts(world):
    one = world(workers=1)
    agent = one.ready(one.create(1))
    one.hosting.draining = one.supervisor.draining = True

    with pytest.raises(Draining):
        one.create(2)
    one.die(one.pool[0], agent.id)

    assert agent.state is State.RESTARTING
    assert one.supervisor.workers == {}


def test_there_are_only_so_many_agents(tmp_path):
    world = World(tmp_path, max_agents=2)
    try:
        world.create(1)
        agent = world.create(2, name="second")
        with pytest.raises(Overloaded, match="max_agents = 2") as told:
            world.create(3)
        assert (told.value.limit, told.value.setting) == (2, "max_agents")
        spec = Create(4, bytes(16), "m:C", "spec", "data", name="second", get_if_exists=True)
        assert world.hosting.create(spec, [b"payload"], b"s" * 16) == (agent, True)
    finally:
        world.close()
