"""The door is looked at each minute: on a clock that does not wait."""

import threading

import pytest

from agentd.errors import ConfigError, TransportError
from agentd.transport.doorkeeper import EVERY_S, TRIES, Doorkeeper

LONG_S = 30


class Minutes:
    """Minutes that pass at once, as many as it is given; then it is time to end."""

    def __init__(self, number):
        self.left = number
        self.waited = []

    def __call__(self, seconds):
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


def keep(*seen, minutes=None):
    """What came of looks that saw this; an exception is raised."""
    looks, failures = iter(seen), []
    clock = Minutes(len(seen) if minutes is None else minutes)

    def look(_stopped):
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    keeper = Doorkeeper(look, failures.append, clock)
    keeper._thread.join(LONG_S)
    assert not keeper._thread.is_alive()
    return failures, clock, len(list(looks))


def test_a_door_that_is_kept_is_looked_at_each_minute():
    failures, clock, left = keep(True, True, True)
    assert (failures, left) == ([], 0)
    assert clock.waited == [EVERY_S] * 4
    assert EVERY_S == 60


def test_a_door_that_is_not_kept_is_told_once_and_at_once():
    wrong = ConfigError("it is open")
    failures, _clock, left = keep(True, wrong, True, wrong)
    assert (failures, left) == ([wrong], 2)


def test_nothing_learnt_is_forgiven_once():
    assert TRIES == 2
    assert keep(False, True, False, True)[0] == []
    [failure] = keep(True, False, False, True)[0]
    assert isinstance(failure, TransportError)
    assert "does not answer" in str(failure)


def test_a_defect_is_no_reason_to_believe_that_it_is_kept(caplog):
    [failure] = keep(ZeroDivisionError())[0]
    assert isinstance(failure, ConfigError)
    assert "ZeroDivisionError" in str(failure)
    assert caplog.records


def test_a_look_that_goes_on_is_broken_off_and_tells_nothing():
    looking, failures = threading.Event(), []

    def look(stopped):
        looking.set()
        while not stopped():
            pass
        raise ConfigError("it was closed meanwhile")

    keeper = Doorkeeper(look, failures.append, lambda _seconds: False)
    assert looking.wait(LONG_S)
    keeper.stop()
    assert failures == []


@pytest.mark.parametrize("minutes", [0, 1])
def test_it_ends_while_it_waits(minutes):
    assert keep(True, True, minutes=minutes)[2] == 2 - minutes
