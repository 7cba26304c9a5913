"""Workers' doors, as the daemon has them: which there may be, and what is told of them."""

import dataclasses
import logging

import pytest

from agentd.config import ServerConfig
from agentd.errors import ConfigError
from agentd.keys.book import GrantBook
from agentd.keys.reading import Reading
from agentd.protocol import unpack
from agentd.protocol.access import Grant, Role
from agentd.protocol.admission import read_admission
from agentd.protocol.messages import Admit, Enlist, Ready
from agentd.server.doors import Doors, door_settings
from agentd.transport.endpoint import TcpEndpoint

HERE = (TcpEndpoint("10.0.0.1", 5577), TcpEndpoint("::1", 5577))
KEY = b"k" * 32
GRANT = Grant("key:me", "me", frozenset({Role.CALLER}), ("calc",), ("add",))


def config(**more):
    return ServerConfig(**{"workers": 2, "worker_ports": "5600-5609", **more})


def test_a_worker_is_told_the_hosts_the_ports_and_the_limits():
    told = door_settings(config(handshake_s=1.5, max_connections=7), HERE)
    assert told.hosts == ("10.0.0.1", "::1")
    assert told.ports == (5600, 5609)
    assert (told.handshake_s, told.max_connections) == (1.5, 7)
    found = dataclasses.asdict(told)
    for name in found.keys() - {"hosts", "ports"}:
        assert found[name] == getattr(config(handshake_s=1.5, max_connections=7), name), name


def test_without_a_range_there_are_none():
    assert door_settings(config(worker_ports=""), HERE) is None


def test_without_tcp_a_range_is_of_no_use_which_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert door_settings(config(), ()) is None
    assert "worker_ports" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [({"workers": 11}, "10 ports for 11 workers"), ({"worker_ports": "5570-5580"}, "has the port")],
)
def test_ranges_that_cannot_do(more, said):
    with pytest.raises(ConfigError, match=said):
        door_settings(config(**more), HERE)


# -- what workers and clients are told -------------------------------------------------------------
@pytest.fixture
def book():
    found = GrantBook(None)
    found.take(Reading({GRANT.who: GRANT}, {KEY: GRANT.who}))
    return found


def admitted(one, worker):
    """Each list that the worker was told."""
    return [
        read_admission(frames[2])
        for port, frames in one.loop.sent
        if port is worker.channel and isinstance(unpack(frames[1:]), Admit)
    ]


def enlist(one, worker, **more):
    one.supervisor.enlist(worker, Enlist(worker.id, 1, worker.address, "0", "3", **more))


def test_a_worker_is_told_who_may_come_before_anything_else(world, book):
    one = world(workers=1, enlisted=False)
    Doors(one.supervisor, book)
    agent = one.create(1)
    enlist(one, one.pool[0], port=5600, key=b"w" * 32)
    first, second = one.loop.told(one.pool[0])
    assert isinstance(first, Admit)
    assert second.agent == agent.id
    assert admitted(one, one.pool[0]) == [({GRANT.who: GRANT}, {KEY: GRANT.who})]


def test_a_worker_without_a_door_is_told_nobody_and_why_is_in_the_log(world, book, caplog):
    one = world(workers=2, enlisted=False)
    doors = Doors(one.supervisor, book)
    with caplog.at_level(logging.WARNING):
        enlist(one, one.pool[0])
        assert caplog.text == ""
        enlist(one, one.pool[1], closed="no port is free")
    assert "no port is free" in caplog.text
    doors.changed()
    assert [admitted(one, worker) for worker in one.pool] == [[], []]


def test_every_change_is_told_all_that_are_ready(world, book):
    one = world(workers=3, enlisted=False)
    doors = Doors(one.supervisor, book)
    for worker in one.pool[:2]:
        enlist(one, worker, port=5600, key=b"w" * 32)
    book.take(Reading())
    doors.changed()
    told = [admitted(one, worker) for worker in one.pool]
    assert [lists[1:] for lists in told] == [[({}, {})], [({}, {})], []]


def test_a_client_over_tcp_is_told_the_door_of_that_worker(world, book):
    one = world(workers=2, enlisted=False)
    doors = Doors(one.supervisor, book)
    enlist(one, one.pool[0], port=5600, key=b"w" * 32)
    enlist(one, one.pool[1])
    places = [Ready(1, b"a" * 16, "m:C", w.id, w.address, 1, {}) for w in one.pool]
    assert doors.told(places[0]) == places[0].changed(port=5600, key=b"w" * 32)
    assert doors.told(places[1]) == places[1]
    gone = places[0].changed(worker="w99")
    assert doors.told(gone) == gone


def test_a_door_that_was_shut_is_told_to_nobody_and_no_other_is_believed(world, book, caplog):
    one = world(workers=1, enlisted=False)
    doors = Doors(one.supervisor, book)
    [worker] = one.pool
    enlist(one, worker, port=5600, key=b"w" * 32)
    told = len(one.loop.told(worker))
    enlist(one, worker, port=6666, key=b"x" * 32, closed="it lets strangers in")
    assert "it lets strangers in" in caplog.text
    ready = Ready(1, b"a" * 16, "m:C", worker.id, worker.address, 1, {})
    assert doors.told(ready) == ready
    doors.changed()
    assert len(one.loop.told(worker)) == told


def test_an_agent_with_limits_has_a_worker_without_a_door(world):
    one = world(workers=1)
    object.__setattr__(one.supervisor._place, "door", door_settings(config(), HERE))
    one.create(1, options={"limits": {"files": 100}})
    one.create(2, placement="dedicated")
    assert [process.settings.door is None for process in one.launcher.started[1:]] == [True, False]
