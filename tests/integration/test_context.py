"""What running code may ask about itself."""

import asyncio
import time

import pytest

import agentd
from tests.integration.callees import Callee
from tests.integration.conftest import LONG_S, wait_until


@pytest.fixture
def make(shared):
    made = []

    def make_one(**options):
        made.append(Callee(to_dist={"endpoint": shared.endpoint, **options}))
        return made[-1]

    yield make_one
    for agent in made:
        agentd.handle(agent).delete()


def test_outside_of_an_agent_there_is_none():
    assert agentd.current_call() is None
    assert agentd.current_agent() is None


@pytest.mark.parametrize("method", ["context", "context_async"])
def test_a_call_knows_itself(make, method):
    agent = make()
    first, second = (getattr(agent, method).submit().result(LONG_S) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["trace"] != second["trace"]
    assert first["caller"] is None
    assert (first["deadline"], first["left"], first["cancelled"]) == (None, None, False)
    assert first["me"] == agent
    assert agentd.handle(first["me"]).id == agentd.handle(agent).id


def test_the_deadline_is_told_and_inherited(make):
    a, b = make(), make()
    told = a.contexts.options(timeout=LONG_S)(b)
    assert 0 < told[1]["left"] <= told[0]["left"] <= LONG_S
    started = time.monotonic()
    with pytest.raises(agentd.errors.CallTimeout):
        a.ask.options(timeout=0.3)(b, "sleep", 3)
    assert time.monotonic() - started < 2.5


def test_a_chain_has_one_trace_and_each_call_knows_its_caller(make):
    agents = [make(), make(worker="dedicated"), make()]
    told = agents[0].contexts(*agents[1:])
    assert len({one["trace"] for one in told}) == 1
    assert len({one["id"] for one in told}) == 3
    ids = [agentd.handle(agent).id for agent in agents]
    assert [one["caller"] for one in told] == [None, *ids[:2]]
    assert [one["me"] for one in told] == agents


def test_a_long_call_sees_that_it_was_given_up(make, tmp_path):
    agent, started = make(), tmp_path / "started"
    result = agent.until_cancelled.submit(str(started))
    wait_until(started.exists, "the call to start")
    result.cancel()
    told = tmp_path / "started.cancelled"
    wait_until(lambda: told.exists() and told.read_text(), "the agent to notice")
    assert told.read_text() == "True"


def test_context_variables_are_kept_apart_between_calls(make):
    agent = make()
    assert [agent.mark(value) for value in "ab"] == ["unset", "unset"]
    many = make(max_concurrency=8)

    async def gather():
        return await asyncio.gather(*(agentd.aio(many).mark_async(str(n)) for n in range(20)))

    assert asyncio.run(gather()) == [["unset", str(n)] for n in range(20)]
    results = [many.mark.submit(str(n)) for n in range(40)]
    assert {r.result(LONG_S) for r in results} == {"unset"}
