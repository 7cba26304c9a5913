"""Connections that break under calls: asked again by the call's key, never run twice."""

import threading
import time

import pytest

import agentd
from agentd.client import calling
from agentd.client.proxy import session_of, target
from agentd.errors import OutcomeUnknown
from tests.cutting import cut
from tests.faults.harness import LONG_S, Thread, dice


class Tally(agentd.Agent):
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def slow(self, seconds):
        self.count += 1
        time.sleep(seconds)
        return self.count

    def big(self):
        self.count += 1
        return bytes(1024 * 1024)


@pytest.fixture(params=["direct", "relay"])
def tally(request):
    agent = Tally(to_dist=True)
    handle = agentd.handle(agent).wait(30)
    client = agentd.connect(handle.endpoint, direct=request.param == "direct")
    yield client.get(handle.id)
    handle.delete()


def test_a_blocking_call_survives_a_broken_connection(tally):
    tally.add()
    timer = threading.Timer(0.2, cut)
    timer.start()
    assert tally.slow(0.6) == 2
    timer.join()
    assert tally.add() == 3


def test_a_submitted_call_survives_a_broken_connection(tally):
    tally.add()
    results = [tally.slow.submit(0.2) for _ in range(3)]
    time.sleep(0.05)
    cut()
    assert [result.result(30) for result in results] == [2, 3, 4]


def test_calls_under_endless_cuts_run_once_each_and_in_order(tally):
    # Given
    chance, over, answered = dice(), threading.Event(), threading.Event()

    def cutter(most):
        # After an answer each: a call gives up when nothing else than breaks has come for long.
        while most > 0 and answered.wait(LONG_S) and not over.is_set():
            answered.clear()
            over.wait(chance.uniform(0, 0.005))
            cut()
            most -= 1

    def under_cuts(most, work):
        thread = Thread(lambda: cutter(most))
        try:
            return work()
        finally:
            over.set()
            answered.set()
            thread.done()
            over.clear()

    def add():
        value = tally.add()
        answered.set()
        return value

    def submit():
        result = tally.add.submit()
        result.add_done_callback(lambda _: answered.set())
        return result

    # When
    found = under_cuts(200, lambda: [add() for _ in range(200)])
    for _ in range(5):
        found += under_cuts(
            3, lambda: [each.result(LONG_S) for each in [submit() for _ in range(20)]]
        )
    # Then
    assert found[:200] == list(range(1, 201))
    assert sorted(found) == list(range(1, 301))


def test_an_answer_that_is_not_kept_any_more_is_outcome_unknown(tally, monkeypatch):
    """The answers to ask again for are bounded: a forgotten one is told, and not run again."""
    # Given
    calls = []
    compose = calling.compose

    def remembered(*args, **more):
        calls.append(compose(*args, **more))
        return calls[-1]

    monkeypatch.setattr(calling, "compose", remembered)
    tally.add()
    monkeypatch.undo()
    for _ in range(18):  # answers of 1 MiB push the first one out
        tally.big()
    # When
    session = session_of(target(tally))
    with pytest.raises(OutcomeUnknown) as caught:
        session._call_at(session.places.of(calls[0].agent), calls[0], time.monotonic(), again=True)
    # Then
    assert caught.value.started is True
    assert tally.count == 19
