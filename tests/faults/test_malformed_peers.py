"""Peers on TCP that speak no ZMTP, or badly: nothing of theirs is decoded, nothing is kept.

``pytest --malformed-peers=1000000`` for more of them.
"""

import os
import random
import socket
import struct
from pathlib import Path

import pytest

import agentd
from tests.faults.harness import dice, wait_until

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31)
NULL = GREETING.replace(b"CURVE", b"NULL\0")
PLAIN = GREETING.replace(b"CURVE", b"PLAIN")
HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(192)
READY = b"\x04\x19\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
MESSAGE = b"\x00\x08AGD1\x81\xa4kind"
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: closed at once, so that ports do not run out."""


def noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(400))


def mutated(chance: random.Random, whole: bytes) -> bytes:
    bent = bytearray(whole)
    for _ in range(chance.randrange(1, 5)):
        bent[chance.randrange(len(bent))] = chance.randrange(256)
    return bytes(bent)


KINDS = (
    noise,
    lambda chance: mutated(chance, GREETING),
    lambda chance: mutated(chance, GREETING + HELLO),
    lambda chance: (GREETING + HELLO)[: chance.randrange(270)],
    lambda chance: GREETING + HELLO[:2] + noise(chance),
    lambda chance: GREETING + mutated(chance, HELLO) + noise(chance),
    lambda chance: GREETING + HELLO + noise(chance),
    lambda chance: GREETING + READY + MESSAGE * chance.randrange(1, 5),
    lambda chance: NULL + READY + MESSAGE,
    lambda chance: PLAIN + READY + MESSAGE,
    lambda chance: GREETING + b"\x06" + struct.pack(">Q", chance.randrange(2**63)) + noise(chance),
    lambda _chance: b"",
)


@pytest.fixture
def door(door, start_counting):
    door.grant()
    door.open(start_counting)
    return door


COUNTING = """
import agentd.keys.screening as screening
honest = screening.unpack
def unpack(*frames_and_limits):
    kind = "nonsense"
    try:
        message = honest(*frames_and_limits)
        kind = message.kind
        return message
    finally:
        with open({count!r}, "a") as file: print(kind, file=file)
screening.unpack = unpack
"""
OUR_OWN = {"ask", "bye", "hello", "ping", "pong"}
"""What the client of this test says meanwhile."""


@pytest.fixture
def start_counting(tmp_path, build):
    """A daemon that notes of each message of a peer it decodes what that was."""

    def counting(**settings):
        daemon = build(**settings)
        daemon.PROGRAM = COUNTING.format(count=str(tmp_path / "decoded")) + daemon.PROGRAM
        return daemon  # the door starts it

    return counting


def held(pid):
    """Descriptors, and memory in MiB."""
    place = Path(f"/proc/{pid}")
    pages = int((place / "statm").read_text().split()[1])
    return len(list((place / "fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_malformed_peers_get_nothing_and_leave_nothing(door, tmp_path, pytestconfig):
    # Given
    chance = dice()
    address = door.endpoint.removeprefix("tcp://").rsplit(":", 1)
    where = address[0], int(address[1])
    pid = door.daemon.process.pid
    decoded = tmp_path / "decoded"
    door.daemon.workers_ready()
    agentd.connect(door.endpoint).ping()

    def send(count: int) -> None:
        for number in range(count):
            with socket.socket() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                try:
                    peer.connect(where)
                    peer.sendall(KINDS[number % len(KINDS)](chance))
                    if number % 16 == 0:  # let it be read, and answered
                        peer.settimeout(10)
                        peer.recv(64)
                except OSError:
                    pass

    send(1_000)  # what libzmq takes at first it keeps
    files, before = held(pid)
    # When
    send(pytestconfig.getoption("--malformed-peers"))
    # Then
    assert door.daemon.process.poll() is None
    session = agentd.connect(door.endpoint)
    assert session.ping() < 10
    wait_until(lambda: held(pid)[0] <= files + 2, "the connections to be closed")
    assert held(pid)[1] < before + 16
    assert {"hello", "ping"} <= set(decoded.read_text().split()) <= OUR_OWN
