"""A worker's own socket: whatever comes over it, the others are served."""

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest

import agentd
from agentd.client.runtime import runtime
from agentd.protocol import pack
from agentd.protocol.messages import Call, Ping
from tests.faults.harness import ROUNDS, dice, wait_until
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
    address = session.places.known(bytes.fromhex(handle.id)).address
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


PYTHON = Path("/usr/bin/python3")
"""One that every user can run, unlike that of a developer's own."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may come as somebody else")
@pytest.mark.skipif(not PYTHON.exists(), reason="there is no Python of the system")
def test_other_users_are_refused_and_counted(start):
    daemon = start(workers=1)
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    session = runtime().session_at(daemon.endpoint)
    place = session.places.known(bytes.fromhex(agentd.handle(agent).id))
    path = place.address.removeprefix("unix://")

    def counted():
        return daemon.client.info()["counters"]["connections_refused"]

    assert counted() == 0
    # As if somebody had opened all folders on the way there.
    folders = [Path(path).parent, *Path(path).parent.parents][:-2]
    for each in (Path(path), *folders):
        each.chmod(each.stat().st_mode | 0o007)
    come = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(20);"
        "s.connect(sys.argv[1]); sys.exit(s.recv(1) != b'')"
    )
    command = [PYTHON, "-c", come, path]
    for number in (1, 2):
        came = subprocess.run(command, user=65534, group=65534, extra_groups=[], check=False)
        assert came.returncode == 0
        wait_until(lambda number=number: counted() == number, "it to be counted")

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
