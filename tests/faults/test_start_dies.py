"""A worker dies while an agent is built: once it is tried again, for ever it is given up."""

import pytest

import agentd
from agentd.errors import AgentNotFound
from tests.faults.harness import wait_until
from tests.faults.victims import DiesInInit, Victim


def test_a_death_in_init_is_tried_again(start, tmp_path):
    daemon = start()
    agent = DiesInInit(str(tmp_path / "once"), to_dist=daemon.endpoint)

    assert agent.alive
    assert agentd.handle(agent).info()["restarts"] == 1


def test_a_crash_loop_ends_with_the_budget_and_spares_the_siblings(start):
    daemon = start(workers=1, restart_limit=3, worker_backoff_s=0.01)
    siblings = [Victim(to_dist=daemon.endpoint) for _ in range(3)]
    for sibling in siblings:
        sibling.add()
    culprit = DiesInInit(to_dist=daemon.endpoint)

    with pytest.raises(AgentNotFound, match="died 4 times") as caught:
        agentd.handle(culprit).wait(30)

    assert "restart limit of 3" in caught.value.reason
    assert "SIGKILL" in caught.value.reason
    assert caught.value.ended_at is not None
    for sibling in siblings:
        assert sibling.add() >= 1
        assert agentd.handle(sibling).info()["restarts"] <= 1
    wait_until(
        lambda: all(not w["dedicated"] for w in daemon.client.info()["workers"]),
        "the culprit's own worker to go",
    )


def test_a_creation_that_is_deleted_meanwhile_ends_its_waiters(start):
    daemon = start(worker_backoff_s=5)
    culprit = DiesInInit(to_dist=daemon.endpoint)
    wait_until(
        lambda: daemon.client.inspect(agentd.handle(culprit).id)["restarts"] > 0, "its restart"
    )

    agentd.handle(culprit).delete()

    with pytest.raises(AgentNotFound, match="deleted"):
        agentd.handle(culprit).wait(10)
