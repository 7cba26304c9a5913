"""A connection whose peer does not read, and somebody who has something to tell."""

import socket
import time
from types import SimpleNamespace

import pytest
import zmq

from agentd.client.dialing import dial_daemon
from agentd.client.link import Link
from agentd.client.pump import Pump
from agentd.errors import DaemonNotFound
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Keep, Ping, Pong
from agentd.transport.local import pair
from agentd.transport.localport import LocalPort
from tests.integration.conftest import wait_until

AGENT = b"a" * 16
KEYS = [bytes([n]) * 24 for n in range(250)] * 8
"""About 50 KiB."""
MANY = 200
"""Of those messages: more than the buffers of any socket take."""


@pytest.fixture
def ends():
    ours, theirs = pair()
    pump = Pump(lambda: 60.0)
    link = Link(LocalPort(ours), "unix:///peer", pump.arm, watch=pump.watch)
    peer = LocalPort(theirs)
    yield link, peer
    link.close()
    peer.close()
    pump.stop()


def test_what_is_told_to_one_that_does_not_read_keeps_nobody_waiting_and_arrives(ends):
    link, peer = ends
    marks = [link.tell(Keep(AGENT, KEYS)) for _ in range(MANY)]  # nobody reads: it would hang
    assert None not in marks
    assert link.waiting, "so that the next heartbeat asks for a sign of life"
    assert not link.has_shown(marks[0])

    link.ping()
    came = []

    def all_came():
        messages, _more = peer.receive(100)
        came.extend(unpack(frames) for frames in messages)
        return bool(came) and isinstance(came[-1], Ping)

    wait_until(all_came, "what was told to leave, though nobody reads answers")
    assert [type(message) for message in came] == [Keep] * MANY + [Ping]

    peer.send(pack(Pong(came[-1].id, time.monotonic())))
    wait_until(lambda: link.has_shown(marks[-1]), "its arrival to be known")
    assert not link.waiting


def test_who_finds_no_room_to_wait_at_a_door_is_told_so(tmp_path):
    path = str(tmp_path / "s")
    context = zmq.Context()
    with socket.socket(socket.AF_UNIX) as listener, context:
        listener.bind(path)
        listener.listen(0)  # and accepts nobody
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            with pytest.raises(DaemonNotFound, match="so many wait to be let in"):
                dial_daemon(SimpleNamespace(context=context), f"ipc://{path}", 0.3)
