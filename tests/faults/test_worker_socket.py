"""A worker's own socket: whatever comes over it, the others are served."""

import socket
import struct

import pytest

import agentd
from agentd.client.runtime import runtime
from agentd.protocol import pack
from agentd.protocol.messages import Call, Ping
from tests.faults.harness import ROUNDS, dice
from tests.faults.victims import Victim


@pytest.fixture
def agent(start):
    daemon = start(workers=1)
    found = Victim(to_dist=daemon.endpoint)
    assert found.add() == 1
    return found


@pytest.fixture
def connect(agent):
    """Connections to the worker of the agent, past the client."""
    handle = agentd.handle(agent)
    session = runtime().session_at(handle.endpoint)
    address = session.known_place(bytes.fromhex(handle.id)).address
    opened = []

    def connect():
        opened.append(socket.socket(socket.AF_UNIX))
        opened[-1].settimeout(20)
        opened[-1].connect(address.removeprefix("unix://"))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def framed(frames):
    head = struct.pack(f"<HH{len(frames)}Q", len(frames), 0, *map(len, frames))
    return head + b"".join(frames)


@pytest.mark.parametrize(
    "told",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(1000),
        b"\xff" * 1000,
        struct.pack("<HHQ", 1, 0, 2**62),
        struct.pack("<HHQ", 1, 1, 10) + bytes(10),
    ],
    ids=["another protocol", "zeros", "ones", "an absurd length", "a flag that is not known"],
)
def test_what_is_no_message_ends_its_connection_alone(agent, connect, told):
    stranger = connect()
    stranger.sendall(told)

    assert stranger.recv(1) == b""
    assert agent.add() == 2


def test_a_message_that_never_ends_stalls_nobody(agent, connect):
    for _ in range(20):
        slow = connect()
        slow.sendall(struct.pack("<HHQQ", 2, 0, 100, 50_000_000) + bytes(500))

    assert agent.add() == 2


def test_random_bytes(agent, connect):
    chance = dice()
    good = framed(pack(Ping(1)))
    for _ in range(100 * ROUNDS):
        garbled = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            garbled[chance.randrange(len(garbled))] = chance.randrange(256)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(connect().getpeername())
            one.sendall(bytes(garbled) + chance.randbytes(chance.randint(0, 200)))

    assert agent.add() == 2


def test_calls_by_hand_are_answered_each(agent, connect):
    one = connect()
    handle = agentd.handle(agent)
    call = Call(7, bytes.fromhex(handle.id), 99, "method", "add", "data")  # of an epoch that is not
    one.sendall(framed([*pack(call), b"\x92\x90\x80"]) * 3 + framed(pack(Ping(8))))
    answers = b""
    while answers.count(b"AGD1") < 4:
        answers += one.recv(65536)

    assert answers.count(b"AgentNotFound") == 3
    assert agent.add() == 2
