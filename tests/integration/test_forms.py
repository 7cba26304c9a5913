"""The forms of a call: plain, submitted, one-way, streamed, with options."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import agentd
from agentd.errors import ConfigError
from tests.integration.callees import Callee, Slow, Stubborn
from tests.integration.conftest import LONG_S, wait_until


def test_the_plain_form_gives_the_value_and_submit_a_result_at_once(make, tmp_path):
    agent, file = make(), tmp_path / "go"
    result = agent.until.submit(str(file))
    assert isinstance(result, agentd.AsyncResult)
    assert not result.done()
    file.touch()
    assert result.result(LONG_S) == str(file)
    assert agent.add(2) == 2
    assert list(agent.count.stream(3)) == [0, 1, 2]


def test_calls_may_be_submitted_before_the_agent_is_ready(shared, tmp_path):
    go = tmp_path / "go"
    agent = Callee(to_dist=shared.endpoint)
    results = [agent.add.submit(1) for _ in range(10)]
    slow = Slow(str(go), to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    early = slow.add.submit(5)
    assert not early.done()
    assert [r.result(LONG_S) for r in results] == list(range(1, 11))
    go.touch()
    assert early.result(LONG_S) == 5


@pytest.mark.parametrize("direct", [True, False])
def test_calls_of_one_thread_run_in_the_order_in_which_they_were_made(shared, direct):
    """Also the first ones, which have to wait for the agent or have to look for it."""
    client = agentd.connect(shared.endpoint, direct=direct)
    for _ in range(30):
        agent = client.create("tests.integration.callees:Callee")
        for number in range(0, 30, 3):
            agent.note.submit(number)
            agent.note.oneway(number + 1) if number else agent.note.submit(1)
            agent.note(number + 2) if number > 3 else agent.note.submit(number + 2)
        assert agent.notes() == list(range(30))
        agentd.handle(agent).delete()


def test_a_reference_from_elsewhere_keeps_the_order_of_its_first_calls(shared, script):
    agent = Callee(to_dist=shared.endpoint)
    for _ in range(3):
        agent.log = []
        script.run(
            """
import sys, agentd
agent = agentd.connect(sys.argv[1]).get(sys.argv[2])
fresh = __import__("pickle").loads(__import__("pickle").dumps(agent))
from agentd.client.runtime import runtime
runtime().session_at(sys.argv[1]).places.clear()
for number in range(20):
    fresh.note.submit(number)
fresh.note(20)
""",
            shared.endpoint,
            agentd.handle(agent).id,
        )
        assert agent.notes() == list(range(21))


def test_oneway_returns_when_it_is_accepted_and_keeps_its_place(make, tmp_path):
    agent, file = make(), tmp_path / "go"
    assert agent.until.oneway(str(file)) is None  # it still runs
    for number in range(5):
        agent.note.oneway(number)
    file.touch()
    assert agent.notes() == [0, 1, 2, 3, 4]


def test_what_a_oneway_call_raises_is_in_the_agents_log(make, shared):
    agent = make()
    agent.fail.oneway(11)
    assert agent.add(1) == 1  # and the agent goes on

    def told():
        lines = shared.client.logs(agentd.handle(agent).id)["lines"]
        return any("stubborn 11" in line["text"] for line in lines)

    wait_until(told, "the log to tell")


def test_an_unknown_option_is_answered_with_the_nearest(make):
    agent = make()
    with pytest.raises(ConfigError, match=r"'timeuot'.*did you mean 'timeout'"):
        agent.add.options(timeuot=1)
    with pytest.raises(ConfigError, match="'nonsense'"):
        agent.add.options(nonsense=1)


@pytest.mark.parametrize("wrong", [-1, 0, "1", True, float("nan")])
def test_a_timeout_is_a_number_above_zero(make, wrong):
    agent = make()
    with pytest.raises(ConfigError, match="timeout"):
        agent.add.options(timeout=wrong)(1)


def test_options_give_the_same_forms(make):
    method = make().add.options(timeout=LONG_S)
    assert method(1) == 1
    assert method.submit(1).result() == 2
    assert method.oneway(1) is None
    assert method(1) == 4
    assert list(make().count.options(timeout=LONG_S, credit=1).stream(3)) == [0, 1, 2]


def test_a_call_with_a_key_runs_once(make):
    agent = make()
    add = agent.add.options(key="once")
    assert [add(5), add(5), add.submit(5).result(), add.submit(5).result(), add(5)] == [5] * 5
    assert agent.value == 5
    assert agent.add.options(key="another")(5) == 10


def test_a_key_is_its_agents_own(make):
    one, other = make(1), make(10)
    assert one.add.options(key="k")(1) == 2
    assert other.add.options(key="k")(1) == 11


def test_a_call_with_a_key_that_failed_fails_again_without_running(make):
    agent = make()
    for _ in range(2):
        with pytest.raises(Stubborn) as caught:
            agent.fail.options(key="f")(3)
        assert caught.value.code == 3


def test_a_call_with_a_key_from_two_threads_at_once_runs_once(make, tmp_path):
    agent = make()
    start = threading.Barrier(8)
    blocked = agent.until.submit(str(tmp_path / "go"))

    def add():
        start.wait(LONG_S)
        return agent.add.options(key="both")(1)

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(add) for _ in range(8)]
        (tmp_path / "go").touch()
        assert [d.result(LONG_S) for d in done] == [1] * 8
    assert blocked.result()
    assert agent.value == 1


def test_a_call_with_a_key_from_two_processes_runs_once(make, shared, script):
    agent = make()
    program = """
import sys, agentd
agent = agentd.connect(sys.argv[1]).get(sys.argv[2])
print(agent.add.options(key="job 7").submit(1).result())
"""
    who = agentd.handle(agent).id
    two = [script.start(program, shared.endpoint, who) for _ in range(2)]
    assert [p.communicate(timeout=LONG_S)[0].strip() for p in two] == ["1", "1"]
    assert agent.add.options(key="job 7")(1) == 1
    assert agent.value == 1


def test_a_call_with_a_key_that_never_started_may_be_made_again(make, tmp_path):
    agent, file = make(busy="reject"), tmp_path / "go"
    running = agent.until.submit(str(file))
    with pytest.raises(agentd.errors.Overloaded):
        agent.add.options(key="k")(1)
    file.touch()
    running.result(LONG_S)
    assert agent.add.options(key="k")(1) == 1


def test_methods_marked_async_give_a_result_and_special_ones_marked_sync_a_value(make):
    agent = make()
    assert isinstance(agent.later(4), agentd.AsyncResult)
    assert agent.later(4).result() == 4
    assert agent(5) == ("called", 5)


def test_an_async_def_gives_an_awaitable_result(make):
    result = make().soon(6)
    assert isinstance(result, agentd.AsyncResult)
    assert result.result(LONG_S) == 6

    async def wait():
        return await result, await result

    import asyncio

    assert asyncio.run(wait()) == (6, 6)


def test_sixteen_threads_submit_on_one_proxy(make):
    agent = make()

    def work():
        return [r.result(LONG_S) for r in [agent.add.submit(1) for _ in range(100)]]

    with ThreadPoolExecutor(16) as pool:
        seen = [n for d in [pool.submit(work) for _ in range(16)] for n in d.result(LONG_S)]
    assert sorted(seen) == list(range(1, 1601))


def test_a_call_with_a_key_runs_once_also_after_its_result_was_collected(make):
    agent = make()
    add = agent.add.options(key="once")
    assert add.submit(5).result() == 5
    for _ in range(200):  # what is let go is told with the next few
        agent.echo.submit().result()
    assert (add(5), add.submit(5).result(), agent.value) == (5, 5, 5)
