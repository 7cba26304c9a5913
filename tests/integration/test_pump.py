"""The pump's clock: how often it calls, and who may have it call sooner."""

import select
import threading

import pytest

from agentd.client.pump import BEAT_S, Pump
from tests.integration.conftest import wait_until

LONG_S = 20.0


@pytest.fixture
def pump():
    """``pump(rest)``: one that is told ``rest`` each time; ``.ticked`` counts."""
    made = []

    def make(rest):
        def tick():
            made[-1].ticked.release()
            return rest()

        one = Pump(tick)
        one.ticked = threading.Semaphore(0)
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()
        one._thread.join(LONG_S)
        assert not one._thread.is_alive()


class Polled:
    """An epoll that notes each wait."""

    def __init__(self, epoll):
        self._epoll = epoll
        self.waits = []

    def __getattr__(self, name):
        return getattr(self._epoll, name)

    def poll(self, wait):
        self.waits.append(wait)
        return self._epoll.poll(wait)


def test_one_that_has_just_begun_looks_at_nothing_in_vain(pump, monkeypatch):
    made = Polled(select.epoll())
    monkeypatch.setattr("agentd.client.pump.select.epoll", lambda: made)
    one = pump(lambda: 3600.0)
    assert one.ticked.acquire(timeout=LONG_S)
    assert len(made.waits) <= 3, "it looks every 10 ms for what nobody awaits"


def test_it_rests_until_it_is_roused_and_then_calls_soon(pump):
    one = pump(lambda: 3600.0)
    assert one.ticked.acquire(timeout=LONG_S)
    wait_until(lambda: one._resting, "it to rest")
    assert not one.ticked.acquire(timeout=2 * BEAT_S)
    one.rouse()
    assert one.ticked.acquire(timeout=LONG_S)


def test_who_rouses_it_while_it_looks_is_not_overlooked(pump):
    def rest():
        if not roused:
            roused.append(True)
            one.rouse()  # somebody asks for something just after it has looked there
        return 3600.0

    roused = []
    one = pump(rest)
    for _ in range(2):
        assert one.ticked.acquire(timeout=LONG_S)


def test_a_tick_that_fails_is_followed_by_another(pump):
    def rest():
        raise OSError("no descriptors left")

    one = pump(rest)
    for _ in range(2):
        assert one.ticked.acquire(timeout=LONG_S)
