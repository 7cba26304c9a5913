"""How often a daemon that is gone is looked for: at first in time for the lease, then rarely."""

import itertools

import pytest

from agentd.client.knocks import FIRST_S, MOST_S, Knocks
from agentd.errors import DaemonNotFound

GRACE_S = 15.0


def knocks_until(end, *, grace_s=GRACE_S, spread=lambda _low, _high: 1.0):
    """When it is knocked, if nobody ever answers and it is looked four times a second."""
    found, at, now = Knocks(spread), [], 0.0
    while now < end:
        if found.due(now):
            at.append(now)
            found.unheard(now, grace_s)
        now += 0.25
    return at


def test_pauses_double_up_to_a_minute():
    at = knocks_until(600, grace_s=0)
    pauses = [later - before for before, later in itertools.pairwise(at)]
    assert pauses == [2, 4, 8, 16, 32, *[60] * (len(pauses) - 5)]
    assert FIRST_S == 2
    assert MOST_S == 60


@pytest.mark.parametrize("grace_s", [6.0, 15.0, 60.0])
def test_while_the_lease_may_be_kept_it_is_met_in_time(grace_s):
    at = knocks_until(grace_s, grace_s=grace_s)
    assert len(at) >= 3
    for before, later in itertools.pairwise([*at, grace_s]):
        assert later - before <= grace_s / 3 + 0.25


def test_in_an_hour_it_is_about_one_a_minute():
    assert 60 <= len(knocks_until(3600)) <= 70


def test_clients_do_not_come_all_at_once():
    asked = []

    def spread(low, high):
        asked.append((low, high))
        return low

    at = knocks_until(600, grace_s=0, spread=spread)
    assert set(asked) == {(0.75, 1.25)}
    assert at[1] - at[0] == 1.5


def test_who_was_met_is_looked_for_anew():
    found = Knocks(lambda _low, _high: 1.0)
    for now in range(0, 600, 60):
        found.unheard(float(now), 0)
    assert not found.due(541)
    found.heard()
    assert found.due(541)
    found.unheard(541, 0)
    assert found.due(543)


class FarWay:
    """To a daemon on another host."""

    local = False

    def is_listening(self):
        return True

    def is_trusted(self):
        return True

    def nobody(self):
        return "nobody"


def test_a_session_knocks_so(world, monkeypatch):
    monkeypatch.setattr("agentd.client.daemon.way_to", lambda _endpoint: FarWay())
    session = world.session(direct=False)
    session.heartbeats.knocks = Knocks(lambda _low, _high: 1.0)
    session.daemon.connect()
    at, gone = [], [True]

    def dial(context, endpoint, timeout):
        at.append(world.clock.now)
        if gone[0]:
            raise DaemonNotFound("gone", endpoint=endpoint)
        return world.network.dial_daemon(context, endpoint, timeout)

    monkeypatch.setattr("agentd.client.daemon.dial_daemon", dial)
    session.daemon.link.fail("it is gone", for_good=True)
    for _ in range(4 * 600):
        world.beats(session, 0.25)
        world.aside.run()
    assert 10 < len(at) < 25, "not at each of 2,400 beats"
    assert at[-1] - at[-2] >= 60

    gone[0] = False
    for _ in range(4 * 61):
        world.beats(session, 0.25)
        world.aside.run()
    assert session.daemon.link.down is None
    number = len(at)

    gone[0] = True  # once more: it begins anew
    session.daemon.link.fail("it is gone", for_good=True)
    for _ in range(4 * 10):
        world.beats(session, 0.25)
        world.aside.run()
    assert len(at) - number >= 3


def test_who_needs_it_need_not_wait(world, monkeypatch):
    monkeypatch.setattr("agentd.client.daemon.way_to", lambda _endpoint: FarWay())
    session = world.session(direct=False)
    session.daemon.connect()
    session.daemon.link.fail("it is gone", for_good=True)
    session.heartbeats.knocks.unheard(world.clock.now, 0.0)
    session.heartbeats.knocks.unheard(world.clock.now, 0.0)
    assert session.daemon.connect().down is None
