"""libzmq accepts one connection, and the next when that is known; nobody where there is no room."""

import contextlib
import errno
import logging
import socket
import struct
import threading
import time

import pytest
import zmq

from agentd.transport import listener
from agentd.transport.connections import Connections
from agentd.transport.front import FrontPort, front_socket
from agentd.transport.listeners import AHEAD, ENDING
from agentd.transport.monitor import read
from agentd.transport.sockets import new_context
from tests.integration.conftest import wait_until

MOST = 2
QUIET_S = 0.3
"""Nothing is told for so long: nothing happens."""


class Door:
    """A socket that listens, and what its monitor tells, as it is asked for."""

    def __init__(self, path):
        self.path = str(path)
        self.context = new_context()
        self.front = FrontPort(front_socket(self.context, max_frame=1_000, handshake_s=60), "ipc")
        self.connections = Connections(MOST, time.monotonic)
        self.monitor = self.connections.watch(self.front)
        self.front.socket.bind(f"ipc://{self.path}")
        self.connections.bound(self.path)
        self.peers = []

    def heads(self):
        """What is told now, if anything."""
        return [head for heads in self.monitor.receive(1)[0] for head in heads]

    def tell(self):
        """Have the book read what is told now; what."""
        heads = self.heads()
        self.connections.events(0, heads)
        return [read(head)[0] for head in heads]

    def waits(self):
        """Whether nothing happens, by and by."""
        return not self.monitor.socket.poll(QUIET_S * 1_000)

    def connect(self, count):
        for _ in range(count):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(self.path)
            self.peers.append(peer)

    def close(self):
        for peer in self.peers:
            peer.close()
        self.connections.close()
        self.front.close()
        self.context.term()


@pytest.fixture
def door(tmp_path):
    """With one who is in."""
    with contextlib.closing(Door(tmp_path / "s")) as made:
        made.connect(1)
        wait_until(lambda: "accepted" in made.tell(), "the first one")
        yield made


def accepted(door, count):
    """Wait until so many more were."""
    told = []
    wait_until(lambda: told.extend(door.tell()) or told.count("accepted") >= count, "them to be in")
    assert told.count("accepted") == count


def test_while_nobody_counts_them_one_is_accepted(door):
    door.connect(30)
    for known in range(30):
        assert door.monitor.socket.poll(10_000)
        if known < 3:
            time.sleep(QUIET_S)
        heads = door.heads()
        assert [read(head)[0] for head in heads].count("accepted") <= 1
        door.connections.events(0, heads)


def test_none_is_accepted_while_too_many_have_not_gone(door, monkeypatch):
    connecting = threading.Thread(target=door.connect, args=(3 * ENDING,), daemon=True)
    with monkeypatch.context() as patched:
        patched.setattr(door.connections, "end", lambda _connection: True)
        connecting.start()
        accepted(door, MOST - 1 + ENDING)
        assert door.waits()
        assert len(door.connections) == MOST + ENDING
    for connection in [*door.connections][MOST:]:
        assert door.connections.end(connection)
    accepted(door, 2 * ENDING - MOST + 1)
    connecting.join(10)
    wait_until(lambda: door.tell() or len(door.connections) == MOST, "those too many to go")


def refused(why):
    return struct.pack("=HI", zmq.EVENT_ACCEPT_FAILED, why)


@pytest.mark.parametrize("why", [errno.ECONNABORTED, errno.EMFILE])
def test_after_one_that_could_not_be_accepted_comes_the_next(door, why):
    door.connect(1)
    assert door.monitor.socket.poll(10_000)
    assert [read(head)[0] for head in door.heads()] == ["accepted"]
    door.connect(1)
    assert door.waits()
    door.connections.events(0, [refused(why)])
    wait_until(lambda: "accepted" in door.tell(), "the next one")


def test_where_the_system_has_no_room_the_next_waits(door):
    told = []
    door.connections.listeners.on_no_room = told.append
    door.connect(1)
    assert door.monitor.socket.poll(10_000)
    assert [read(head)[0] for head in door.heads()] == ["accepted"]
    door.connect(1)
    door.connections.events(0, [refused(errno.EMFILE)])
    assert told == [0]
    assert door.waits()
    assert door.connections.listeners.rest(0, rests=True)
    assert door.connections.listeners.rest(0, rests=False)
    wait_until(lambda: "accepted" in door.tell(), "the next one")


def test_nobody_is_accepted_in_a_rest_whoever_becomes_known(door):
    door.connect(1)
    assert door.monitor.socket.poll(10_000)
    assert door.connections.listeners.rest(0, rests=True)
    assert "accepted" in door.tell()
    door.connect(1)
    assert door.waits()
    assert door.connections.listeners.rest(0, rests=False)
    wait_until(lambda: "accepted" in door.tell(), "the next one")


@pytest.mark.parametrize(("files", "warns"), [(600, True), (MOST + AHEAD + 1_000, False)])
def test_where_nobody_is_seen_to_accept_whoever_comes_is_accepted(
    tmp_path, monkeypatch, caplog, files, warns
):
    tries = []
    monkeypatch.setattr(listener.Acceptance, "of", tries.append)
    monkeypatch.setattr("resource.getrlimit", lambda _what: (files, files))
    with contextlib.closing(Door(tmp_path / "s")) as door, caplog.at_level(logging.WARNING):
        wait_until(lambda: "listening" in door.tell(), "it to listen")
        assert caplog.text == ""  # it may be too early
        door.connect(MOST)
        accepted(door, MOST)
        assert len(tries) == 2
        assert not door.connections.listeners.rest(0, rests=True)
    assert ("may have 600 open files" in caplog.text) == warns
