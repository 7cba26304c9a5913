"""Grants are read in a thread of their own: each time, and at once when asked."""

import queue
import time

import pytest

from agentd.errors import ConfigError
from agentd.keys import Reading
from agentd.server import grantwatch
from agentd.server.grantwatch import GrantWatch

LONG_S = 30


class Watched:
    """A watch, and all that came of it."""

    def __init__(self):
        self.reading = None
        self.taken = queue.Queue()
        self.failed = queue.Queue()
        self.watch = GrantWatch(self.look, lambda *found: self.taken.put(found), self.failed.put)

    def look(self, _asked):
        if isinstance(self.reading, Exception):
            raise self.reading
        return self.reading


@pytest.fixture
def make(monkeypatch):
    made = []

    def make(every_s):
        monkeypatch.setattr(grantwatch, "EVERY_S", every_s)
        made.append(Watched())
        return made[-1]

    yield make
    for one in made:
        one.watch.stop()
        one.watch._thread.join(LONG_S)
        assert not one.watch._thread.is_alive()


def test_it_looks_again_and_again_and_tells_of_nothing_new_too(make):
    one = make(0.001)
    assert one.taken.get(timeout=LONG_S) == (None, False)
    one.reading = Reading(alarms=("x",))
    found = None
    while found is None:
        found, asked = one.taken.get(timeout=LONG_S)
        assert not asked
    assert found.alarms == ("x",)


def test_asked_for_it_looks_at_once(make):
    one = make(3600)
    with pytest.raises(queue.Empty):
        one.taken.get(timeout=0.2)
    began = time.monotonic()
    one.watch.now()
    assert one.taken.get(timeout=LONG_S) == (None, True)
    assert time.monotonic() - began < 10


def test_a_defect_is_told_and_ends_it(make):
    one = make(0.001)
    one.reading = ZeroDivisionError()
    failure = one.failed.get(timeout=LONG_S)
    assert isinstance(failure, ConfigError)
    assert "ZeroDivisionError" in str(failure)
    one.watch._thread.join(LONG_S)
    assert one.failed.empty()
