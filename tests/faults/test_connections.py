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


class Cuts:
    """Breaks the connections again and again while work is done."""

    def __init__(self):
        self._chance, self._over, self._answered = dice(), threading.Event(), threading.Event()

    def answered(self, _result=None):
        """After each answer: a call gives up when nothing but breaks comes for long."""
        self._answered.set()

    def under(self, most, work):
        """What ``work`` gives, under so many cuts at most."""
        thread = Thread(lambda: self._cut(most))
        try:
            return work()
        finally:
            self._over.set()
            self._answered.set()
            thread.done()
            self._over.clear()

    def _cut(self, most):
        while most > 0 and self._answered.wait(LONG_S) and not self._over.is_set():
            self._answered.clear()
            self._over.wait(self._chance.uniform(0, 0.005))
            cut()
            most -= 1


def test_calls_under_endless_cuts_run_once_each_and_in_order(tally):
    # Given
    cuts = Cuts()

    def add():
        value = tally.add()
        cuts.answered()
        return value

    def submit():
        result = tally.add.submit()
        result.add_done_callback(cuts.answered)
        return result

    # When
    found = cuts.under(200, lambda: [add() for _ in range(200)])
    for _ in range(5):
        found += cuts.under(
            3, lambda: [each.result(LONG_S) for each in [submit() for _ in range(20)]]
        )
    # Then
    assert found[:200] == list(range(1, 201))
    assert sorted(found) == list(range(1, 301))


def test_large_answers_come_under_endless_cuts_though_they_are_not_kept_once_read(tally):
    # Given
    cuts = Cuts()

    def big():
        value = tally.big()
        cuts.answered()
        return len(value)

    # When
    found = cuts.under(100, lambda: [big() for _ in range(100)])
    # Then
    assert found == [1024 * 1024] * 100
    assert tally.count == 100


def test_an_answer_that_is_not_kept_any_more_is_outcome_unknown(tally, monkeypatch):
    """The answers to ask again for are bounded: a forgotten one is told, and not run again.

    A large one that went straight has gone as soon as it was read.
    """
    # Given
    calls = []
    compose = calling.compose

    def remembered(*args, **more):
        calls.append(compose(*args, **more))
        return calls[-1]

    monkeypatch.setattr(calling, "compose", remembered)
    tally.big()
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
