import os

import pytest

from agentd.protocol.messages import Hello
from agentd.server.sessions import Sessions
from agentd.transport.process import process_start

HERE = "this host"
ME = os.getpid()


@pytest.fixture
def sessions(clock):
    return Sessions(10.0, HERE, clock)


def hello(session=b"1" * 16, pid=ME, host="elsewhere", started="never"):
    return Hello(1, 1, "0", "3", session, pid, host, started)


def test_a_message_renews_the_lease(sessions, clock):
    sessions.open((0, b"a"), hello())
    clock.now += 9
    assert sessions.touch((0, b"a")) is not None
    clock.now += 9

    assert sessions.expired() == []
    clock.now += 2
    assert len(sessions.expired()) == 1


def test_a_stranger_has_no_session(sessions):
    assert sessions.touch((0, b"a")) is None


def test_connections_of_one_process_share_a_lease(sessions, clock):
    one = sessions.open((0, b"a"), hello())
    clock.now += 9
    assert sessions.open((1, b"b"), hello()) is one
    clock.now += 9
    assert sessions.touch((0, b"a")) is one
    assert len(sessions) == 1

    sessions.close(one)

    assert sessions.touch((0, b"a")) is sessions.touch((1, b"b")) is None
    assert len(sessions) == 0


def test_a_silent_process_of_this_host_keeps_its_lease_while_it_exists(sessions, clock):
    sessions.open((0, b"a"), hello(host=HERE, started=process_start(ME)))
    for _ in range(5):
        clock.now += 100
        assert sessions.expired() == []


@pytest.mark.parametrize(
    ("pid", "started"), [(ME, "1"), (ME, ""), (2**22 + 1, "1")], ids=["reused", "unknown", "gone"]
)
def test_one_that_is_gone_loses_it(sessions, clock, pid, started):
    one = sessions.open((0, b"a"), hello(pid=pid, host=HERE, started=started))
    clock.now += 5
    assert sessions.expired() == []
    clock.now += 6

    assert sessions.expired() == [one]


def test_a_session_is_its_openers_alone(sessions):
    """Whoever learns of another's session id can neither take it over nor end it."""
    mine = sessions.open((0, b"a"), hello(), "key:me")
    theirs = sessions.open((0, b"b"), hello(), "key:other")
    assert theirs is not mine
    assert theirs.id != mine.id
    assert sessions.touch((0, b"a"), "key:me") is mine
    assert sessions.touch((0, b"a"), "key:other") is None
    assert sessions.of({"key:me"}) == [mine]
    sessions.close(theirs)
    assert sessions.touch((0, b"a"), "key:me") is mine


def test_what_comes_from_elsewhere_is_not_believed_to_run_here(sessions, clock):
    """Else a client could name a process that never ends, and keep its lease for ever."""
    one = sessions.open((0, b"a"), hello(host=HERE, started=process_start(ME)), "key:me")
    assert not sessions.is_here(one)
    clock.now += 11
    assert sessions.expired() == [one]


def test_a_route_that_another_introduces_is_the_others(sessions):
    one = sessions.open((0, b"a"), hello(), "key:me", (5, 55))
    assert sessions.connection((0, b"a")) == (5, 55)
    sessions.open((0, b"a"), hello(), "key:other", (6, 66))
    assert one.connections == {}
    assert sessions.connection((0, b"a")) == (6, 66)
