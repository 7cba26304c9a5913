"""Agents that call agents: chains, rings, calls that come back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import agentd
from agentd.errors import WouldDeadlock
from tests.integration.callees import Callee
from tests.integration.conftest import LONG_S, wait_until

FORMS = ["ask", "ask_submit", "ask_await", "ask_submit_await"]
LIMIT = 5.0
"""What must be answered at once is given up then, so that a defect is no standstill."""


def limited(agent, form):
    return getattr(agent, form).options(timeout=LIMIT).submit


def short(agent):
    return agentd.handle(agent).id[:8]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inner", FORMS)
def test_a_call_that_comes_back_would_wait_for_itself_and_says_so(make, form, inner):
    a, b = make(), make(worker="dedicated")
    with pytest.raises(WouldDeadlock) as caught:
        limited(a, form)(b, inner, a, "add", 1).result(LONG_S)
    assert caught.value.chain == [short(a), short(b), short(a)]
    assert f"{short(a)} -> {short(b)} -> {short(a)}" in str(caught.value)
    assert "reentrant=True" in str(caught.value)
    assert a.add(1) == 1  # and the agents go on


@pytest.mark.parametrize("form", FORMS)
def test_an_agent_that_calls_itself_likewise(make, form):
    a = make()
    with pytest.raises(WouldDeadlock) as caught:
        limited(a, form)(None, "add", 1).result(LONG_S)
    assert caught.value.chain == [short(a), short(a)]


@pytest.mark.parametrize("form", FORMS)
def test_a_reentrant_agent_runs_it_within_its_turn(make, form):
    a, b = make(reentrant=True), make()
    assert limited(a, form)(b, form, a, "add", 1).result(LONG_S) == 1
    assert a.value == 1


def test_a_call_that_comes_back_when_nobody_waits_any_more_is_queued(make):
    a, b = make(), make()
    assert a.ask_and_leave(b, "ask", a, "add", 3) == "left"
    wait_until(lambda: a.value == 3, "the call that nobody waits for")


def test_a_chain_through_other_agents_is_told_whole(make):
    a, b, c = make(), make(), make(worker="dedicated")
    with pytest.raises(WouldDeadlock) as caught:
        limited(a, "ask")(b, "ask", c, "ask", a, "add", 1).result(LONG_S)
    assert caught.value.chain == [short(one) for one in (a, b, c, a)]


def test_two_agents_may_call_the_same_third_one(make):
    a, b, c = make(), make(), make()
    assert a.ask(b, "ask", c, "add", 1) == 1
    assert sorted(a.ask_gather([b, b, b], "ask", c, "add", 1).result(LONG_S)) == [2, 3, 4]


@pytest.mark.parametrize("submits", [False, True], ids=["calls", "submits"])
@pytest.mark.parametrize("form", FORMS)
def test_waiting_for_a_call_is_waiting_for_the_results_it_needs(make, form, submits):
    """A waits for C, C for a result of B, and B for A: through a result that A passed on."""
    a, b, c = make(), make(worker="dedicated"), make()
    ask = a.ask_with_result_of.options(timeout=LIMIT).submit
    with pytest.raises(WouldDeadlock) as caught:
        ask(b, c, form, "add", 1, submits=submits).result(LONG_S)
    assert caught.value.chain == [short(a), short(b), short(a)]
    assert a.add(1) == 1


def test_a_reentrant_agent_makes_the_result_that_its_own_call_needs(make):
    a, b, c = make(reentrant=True), make(), make()
    ask = a.ask_with_result_of.options(timeout=LIMIT).submit
    assert ask(b, c, "ask", "add", 3).result(LONG_S) == 3


@pytest.mark.parametrize("form", ["reads", "reads_async"])
def test_a_stream_that_comes_back_to_its_reader_would_wait_for_itself_and_says_so(make, form):
    a, b = make(), make(worker="dedicated")
    with pytest.raises(WouldDeadlock) as caught:
        limited(a, form)(b, "tells", a, "add", 1).result(LONG_S)
    assert caught.value.chain == [short(a), short(b), short(a)]
    assert a.add(1) == 1


@pytest.mark.parametrize("form", ["reads", "reads_async"])
def test_a_reentrant_agent_runs_what_its_stream_needs_of_it(make, form):
    a, b = make(reentrant=True), make()
    assert limited(a, form)(b, "tells", a, "add", 1).result(LONG_S) == [1]


def test_a_ring_of_fifty_agents_on_one_worker(start_daemon):
    daemon = start_daemon(workers=1)
    agents = [daemon.client.create("tests.integration.callees:Callee") for _ in range(50)]
    assert len({agent.pid() for agent in agents}) == 1
    assert agents[0].ring.options(timeout=LONG_S)([*agents[1:], agents[0]], 49) == 49
    with pytest.raises(WouldDeadlock) as caught:
        agents[0].ring.options(timeout=LONG_S)([*agents[1:], agents[0]], 51)
    assert len(caught.value.chain) == 51


def test_nested_calls_never_use_up_a_workers_capacity(start_daemon):
    daemon = start_daemon(workers=1)
    path = "tests.integration.callees:Callee"
    levels = [[daemon.client.create(path) for _ in range(100)] for _ in range(3)]
    for form in ("ask", "ask_await"):
        results = [
            getattr(a, form).options(timeout=60).submit(b, form, c, "echo", number)
            for number, (a, b, c) in enumerate(zip(*levels, strict=True))
        ]
        assert [r.result(60) for r in results] == list(range(100))


@pytest.mark.parametrize("apart", [False, True])
def test_two_chains_that_wait_for_each_other_end_with_their_deadline(make, tmp_path, apart):
    """A calls B while B calls A, for two callers: no chain comes back to itself."""
    a = make()
    b = make(worker="dedicated") if apart else make()
    files = [str(tmp_path / name) for name in "ab"]
    there = a.meet.options(timeout=3.0).submit(files[0], files[1], b)
    back = b.meet.options(timeout=3.0).submit(files[1], files[0], a)
    for result in (there, back):
        error = result.exception(LONG_S)
        assert error is None or isinstance(
            error, agentd.errors.CallTimeout | agentd.errors.CallCancelled | WouldDeadlock
        )
    assert (a.add.options(timeout=LIMIT)(1), b.add.options(timeout=LIMIT)(1)) == (1, 1)


def test_many_threads_nest_at_once(make):
    a, b, c = make(), make(worker="dedicated"), make()
    start = threading.Barrier(8)

    def work():
        start.wait(LONG_S)
        return [a.ask(b, "ask", c, "add", 1) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        seen = [n for d in [pool.submit(work) for _ in range(8)] for n in d.result(60)]
    assert sorted(seen) == list(range(1, 161))


def test_an_agent_makes_an_agent_and_calls_it(shared):
    maker = Making(to_dist=shared.endpoint)
    assert maker.make(4) == 5


class Making(agentd.Agent):
    def make(self, start):
        return Callee(start, to_dist=True).add(1)
