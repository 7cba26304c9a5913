"""``AsyncResult``: a future like any other, a value to come, a reference that travels."""

import asyncio
import concurrent.futures
import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

import agentd
from agentd.errors import AgentCrashed, AgentCreationError
from tests.integration.callees import Callee, Heavy, Parcel, Slow, Stubborn, rebuilt_in
from tests.integration.conftest import LONG_S, wait_until


@pytest.fixture
def agent(shared):
    made = Callee(to_dist=shared.endpoint)
    yield made
    agentd.handle(made).delete()


@pytest.fixture(scope="module")
def away():
    """Another daemon."""
    from tests.integration.conftest import _RUN, Daemon

    daemon = Daemon(f"ipc://{_RUN}/away.sock")
    yield daemon
    daemon.stop()


@pytest.fixture(params=["direct", "relayed"])
def client(shared, request):
    return agentd.connect(shared.endpoint, direct=request.param == "direct")


@pytest.fixture(params=["same worker", "other worker", "other daemon"])
def pair(request, client, away):
    """Two agents: who makes results, and who uses them."""
    path = "tests.integration.callees:Callee"
    maker = client.create(path)
    if request.param == "other daemon":
        user = away.client.create(path)
    else:
        user = client.create(path, options={"worker": "dedicated"})
        if request.param == "same worker":
            agentd.handle(user).delete()
            user = next(u for _ in range(4) if (u := client.create(path)).pid() == maker.pid())
    yield maker, user
    for one in (maker, user):
        agentd.handle(one).delete()


# -- a future ------------------------------------------------------------------------------------


def test_it_is_a_future(agent, tmp_path):
    result = agent.until.submit(str(tmp_path / "go"))
    assert isinstance(result, concurrent.futures.Future)
    assert (result.done(), result.cancelled()) == (False, False)
    with pytest.raises(TimeoutError):
        result.result(0.05)
    with pytest.raises(TimeoutError):
        result.exception(timeout=0.05)
    (tmp_path / "go").touch()
    assert result.exception(LONG_S) is None
    assert result.result() == result.update_value() == str(tmp_path / "go")
    assert (result.done(), result.running(), result.cancelled()) == (True, False, False)
    assert result.cancel() is False


def test_it_raises_what_the_call_raised_each_time(agent):
    result = agent.fail.submit(5)
    for _ in range(2):
        with pytest.raises(Stubborn) as caught:
            result.result(LONG_S)
        assert caught.value.code == 5
    assert isinstance(result.exception(), Stubborn)


def test_wait_and_as_completed_take_it(agent, shared, tmp_path):
    other = Callee(to_dist=shared.endpoint)
    slow, fast = agent.until.submit(str(tmp_path / "go")), other.echo.submit(1)
    done, not_done = concurrent.futures.wait(
        [slow, fast], LONG_S, concurrent.futures.FIRST_COMPLETED
    )
    assert (done, not_done) == ({fast}, {slow})
    order = concurrent.futures.as_completed([slow, fast], LONG_S)
    assert next(order) is fast
    (tmp_path / "go").touch()
    assert next(order) is slow
    failing = agent.fail.submit()
    done, _ = concurrent.futures.wait([failing], LONG_S, concurrent.futures.FIRST_EXCEPTION)
    assert done == {failing}


def test_callbacks_are_called_once_also_when_added_late(agent):
    called = threading.Semaphore(0)
    result = agent.echo.submit(3)
    seen = []
    result.add_done_callback(lambda r: (seen.append(r.result()), called.release()))
    assert called.acquire(timeout=LONG_S)
    result.add_done_callback(lambda r: seen.append(r.result() + 1))
    assert seen == [3, 4]


def test_a_callback_may_call_the_agent_again(agent):
    """Also the blocking way, and before the agent was found."""
    fresh = pickle.loads(pickle.dumps(agent))
    done = threading.Event()
    seen = []

    def again(result):
        seen.append(fresh.add(result.result()))
        done.set()

    fresh.add.submit(1).add_done_callback(again)
    assert done.wait(LONG_S)
    assert seen == [2]


def test_a_cancelled_one_is_cancelled_for_all(agent, tmp_path):
    started = tmp_path / "started"
    result = agent.until_cancelled.submit(str(started))
    wait_until(started.exists, "the call to start")
    called = threading.Event()
    result.add_done_callback(lambda r: called.set())
    assert result.cancel() is True
    assert result.cancel() is True
    assert (result.cancelled(), result.done(), result.running()) == (True, True, False)
    assert called.wait(LONG_S)
    for ask in (result.result, result.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            ask(LONG_S)
    assert concurrent.futures.wait([result], LONG_S).done == {result}
    stopped = tmp_path / "started.cancelled"
    wait_until(stopped.exists, "the agent to hear of it")
    wait_until(lambda: stopped.read_text() == "True", "the call to be told")
    assert agent.add(1) == 1


def test_what_is_cancelled_before_its_agent_is_ready_never_runs(shared, tmp_path):
    go = tmp_path / "go"
    agent = Slow(str(go), to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    given_up, kept = agent.add.submit(10), agent.add.submit(1)
    assert given_up.cancel()
    go.touch()
    assert kept.result(LONG_S) == 1
    with pytest.raises(concurrent.futures.CancelledError):
        given_up.result()
    assert agent.value == 1


def array(content):
    return numpy.array(bytearray(content))


@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("form", [bytearray, array])
def test_what_it_is_given_is_as_it_was_at_the_call(shared, tmp_path, form, size):
    """Though it is sent later, as the agent is not ready yet."""
    go = tmp_path / "go"
    agent = Slow(str(go), to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    given = form(b"a" * size)
    result = agent.scribble.submit(given)
    given[:] = form(b"b" * size)
    go.touch()
    was, now = result.result(LONG_S)
    assert was == b"a" * size
    assert now == b"z" + b"a" * (size - 1), "there it may be changed, too"


def test_a_deadline_holds_before_the_agent_is_ready(shared, tmp_path):
    go = tmp_path / "go"
    agent = Slow(str(go), to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    late = agent.add.options(timeout=0.3).submit(1)
    with pytest.raises(agentd.errors.CallTimeout):
        late.result(10)
    go.touch()
    assert agent.add(1) == 1


def test_many_threads_cancel_at_once(agent, tmp_path):
    for _ in range(20):
        result = agent.until.submit(str(tmp_path / "never"))
        start = threading.Barrier(4)

        def cancel(result=result, start=start):
            start.wait(LONG_S)
            return result.cancel()

        with ThreadPoolExecutor(4) as pool:
            assert all(d.result(LONG_S) for d in [pool.submit(cancel) for _ in range(4)])


def test_attributes_and_items_reach_into_the_value(agent):
    parcel = agent.echo.submit(Parcel([1, {"a": 2}], "more"))
    assert parcel.more == "more"
    assert parcel.content[1]["a"] == 2
    assert agent.echo.submit({"k": [5]})["k"][0] == 5
    assert agent.echo.submit("text").upper() == "TEXT"
    with pytest.raises(AttributeError):
        _ = parcel.nothing
    with pytest.raises(Stubborn):
        _ = agent.fail.submit(1).anything
    assert not hasattr(agent.echo.submit(1), "__wrapped__")  # what no value is asked for


# -- awaiting ------------------------------------------------------------------------------------


def test_it_can_be_awaited_in_any_loop_and_after_it_is_done(agent):
    async def wait(result):
        return await result

    result = agent.echo.submit("here")
    assert asyncio.run(wait(result)) == "here"
    assert asyncio.run(wait(result)) == "here"
    assert result.result() == "here"

    async def fails():
        with pytest.raises(Stubborn):
            await agent.fail.submit(1)
        return await asyncio.wrap_future(agent.echo.submit(1)), await asyncio.gather(
            agent.echo.submit(2), agent.echo.submit(3)
        )

    assert asyncio.run(fails()) == (1, [2, 3])


def test_two_loops_in_two_threads_await_the_same_one(agent, tmp_path):
    result = agent.until.submit(str(tmp_path / "go"))
    waiting = threading.Barrier(3)

    async def wait():
        await asyncio.to_thread(waiting.wait, LONG_S)
        return await result

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(asyncio.run, wait()) for _ in range(2)]
        waiting.wait(LONG_S)
        (tmp_path / "go").touch()
        assert [b.result(LONG_S) for b in both] == [str(tmp_path / "go")] * 2


# -- travelling ----------------------------------------------------------------------------------


def test_un_fetched_it_pickles_to_a_reference(agent, script, tmp_path):
    result = agent.echo.submit("from afar")
    (tmp_path / "pickled").write_bytes(pickle.dumps(result))
    failed = agent.fail.submit(4)
    (tmp_path / "failed").write_bytes(pickle.dumps(failed))
    program = """
import pickle, sys, agentd
result = pickle.load(open("pickled", "rb"))
assert type(result) is agentd.AsyncResult
print(result.result(30))
try:
    pickle.load(open("failed", "rb")).result(30)
except Exception as error:
    print(type(error).__name__, error.code)
"""
    for _ in range(2):
        assert script.run(program) == ["from afar", "Stubborn 4"]
    assert result.result() == "from afar"
    assert pickle.loads(pickle.dumps(result)) == "from afar"  # fetched: the value itself


def test_a_result_that_was_unpickled_can_be_handed_on(agent, shared):
    other = Callee(to_dist=shared.endpoint)
    again = pickle.loads(pickle.dumps(agent.echo.submit([1, 2, 3])))
    assert other.size(again) == 3


def test_the_value_goes_where_it_is_used_and_not_through_the_client(pair, tmp_path):
    maker, user = pair
    heavy = maker.heavy.submit(str(tmp_path), 42)
    assert user.weigh(heavy) == 42
    assert rebuilt_in(tmp_path) == [user.pid()]
    assert user.weigh.submit(maker.heavy.submit(str(tmp_path), 43)).result(LONG_S) == 43
    assert rebuilt_in(tmp_path) == [user.pid()] * 2
    assert heavy.value == 42  # only now does this process have it
    assert len(rebuilt_in(tmp_path)) == 3


def test_the_client_does_not_wait(pair, tmp_path):
    maker, user = pair
    result = user.size.submit(maker.until.submit(str(tmp_path / "go")))
    assert not result.done()
    (tmp_path / "go").touch()
    assert result.result(LONG_S) == len(str(tmp_path / "go"))


def test_at_any_depth(pair):
    maker, user = pair
    result = maker.echo.submit
    deep = {"a": [1, (result(2), {"b": result(3)})], "c": Parcel([result(4)], {"d": result(5)})}
    got = user.echo(deep)
    assert got["a"] == [1, (2, {"b": 3})]
    assert (got["c"].content, got["c"].more) == ([4], {"d": 5})
    assert user.content(Parcel(result(1), result(2))) == (1, 2)
    assert user.ask(maker, "echo", result(6)) == 6
    user.value = result(7)
    assert user.value == 7


@pytest.mark.parametrize("where", ["here", "away"])
def test_as_constructor_argument(agent, shared, away, where, tmp_path):
    daemon = shared if where == "here" else away
    slow = agent.until.submit(str(tmp_path / "go"))
    made = Callee([slow, agent.echo.submit(2)], to_dist=daemon.endpoint)
    value = made.echo.submit("ready")
    assert not value.done()
    (tmp_path / "go").touch()
    assert made.value == [str(tmp_path / "go"), 2]
    heavy = Callee(agent.heavy.submit(str(tmp_path / "go"), 1), to_dist=daemon.endpoint)
    with pytest.raises(AgentCreationError):
        heavy.value  # noqa: B018 - the note cannot be made in what is no folder


def test_a_constructor_that_needs_a_failed_result_fails_with_its_error(agent, shared):
    made = Callee(agent.fail.submit(8), to_dist=shared.endpoint)
    with pytest.raises(AgentCreationError) as caught:
        made.add(1)
    assert isinstance(caught.value.__cause__, Stubborn)
    assert caught.value.__cause__.code == 8


def test_a_call_that_needs_a_failed_result_fails_with_the_same_error(pair):
    maker, user = pair
    for send in (user.note, lambda x: user.note.submit(x).result(LONG_S)):
        with pytest.raises(Stubborn) as caught:
            send([maker.fail.submit(6)])
        assert caught.value.code == 6
    with pytest.raises(Stubborn):
        user.note(user.note.submit(maker.fail.submit(6)))
    assert user.notes() == []


def test_a_call_that_needs_a_result_of_a_crashed_agent_fails_likewise(shared, agent, tmp_path):
    victim = Callee(to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    blocked = agent.until.submit(str(tmp_path / "go"))
    with pytest.raises(AgentCrashed):
        Callee(to_dist=shared.endpoint).note(victim.die.submit())
    early = victim.echo.submit(1)
    concurrent.futures.wait([early], LONG_S)
    needs = agent.note.submit(early)  # has to be fetched while ``victim`` still lives, or fail
    with pytest.raises(AgentCrashed):
        victim.die()
    (tmp_path / "go").touch()
    assert blocked.result(LONG_S)
    try:
        assert needs.result(LONG_S) == 1
    except AgentCrashed:
        assert agent.notes() == []


def test_a_call_that_needs_a_result_of_an_agent_that_cannot_be_created_fails_likewise(
    shared, agent, tmp_path
):
    go = tmp_path / "go"
    never = Slow(str(go), fail=True, to_dist={"endpoint": shared.endpoint, "worker": "dedicated"})
    needs = agent.note.submit(never.echo.submit(1))
    go.touch()
    with pytest.raises(AgentCreationError) as caught:
        needs.result(LONG_S)
    assert isinstance(caught.value.__cause__, Stubborn)
    with pytest.raises(AgentCreationError):
        agent.note(never.echo.submit(1))
    assert agent.notes() == []


def test_a_chain_of_twenty_over_three_agents(client, shared, away):
    path = "tests.integration.callees:Callee"
    three = [client.create(path), client.create(path, options={"worker": "dedicated"})]
    three.append(away.client.create(path))
    result = three[0].echo.submit([0])
    for number in range(20):
        result = three[number % 3].echo.submit([number, result])
    depth, value = 0, result.result(LONG_S)
    while len(value) == 2:
        depth, value = depth + 1, value[1]
    assert depth == 20


def test_the_same_result_twice_in_one_call_is_one_object(pair):
    maker, user = pair
    result = maker.echo.submit([1])
    assert user.same(result, result) is True
    assert user.same(Parcel(result).content, result) is True
    assert user.same(maker.echo.submit([1]), maker.echo.submit([1])) is False


def test_a_result_that_depends_on_its_own_agents_next_call(agent):
    assert agent.size(agent.echo.submit([1, 2])) == 2
    assert agent.size.submit(agent.echo.submit([1, 2])).result(LONG_S) == 2


def test_agents_make_results_and_return_them(agent, shared):
    other = Callee(to_dist=shared.endpoint)
    assert agent.ask_submit(other, "echo", 5) == 5
    returned = Passing(to_dist=shared.endpoint).start(other, 7)
    assert isinstance(returned, agentd.AsyncResult)
    assert returned.result(LONG_S) == 7


class Passing(agentd.Agent):
    def start(self, other, value):
        return other.echo.submit(value)


def test_a_big_result_is_handed_over(pair):
    maker, user = pair
    assert user.size(maker.blob.submit(20 << 20)) == 20 << 20


# -- letting go ----------------------------------------------------------------------------------


def test_collecting_them_at_any_moment_never_deadlocks(agent):
    """Results and streams die in any thread, also within the locks of a connection."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:

        def work(number):
            for turn in range(40):
                cycle = [agent.echo.submit(turn), agent.count.stream(3)]
                cycle.append(cycle)
                if turn % 4 == number % 4:
                    assert agent.echo(turn) == turn
            return True

        with ThreadPoolExecutor(6) as pool:
            assert all(d.result(60) for d in [pool.submit(work, n) for n in range(6)])
    finally:
        gc.set_threshold(*before)


def test_a_heavy_one_is_never_rebuilt_for_nobody(agent, tmp_path):
    concurrent.futures.wait([agent.heavy.submit(str(tmp_path), 1)], LONG_S)
    assert rebuilt_in(tmp_path) == []
    assert isinstance(agent.heavy.submit(str(tmp_path), 1).result(), Heavy)
