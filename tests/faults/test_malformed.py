"""Whatever a raw peer sends: it gets an error or nothing, the others are served."""

import os
import socket
import subprocess

import msgpack
import pytest
import zmq

from agentd.protocol import error_message, local_versions, pack, unpack
from agentd.protocol.messages import KINDS, Ask, Create, Error, Hello, Locate
from agentd.transport.process import host_identity, process_start
from tests.faults.harness import ROUNDS, dice, wait_until
from tests.faults.victims import Victim


class Peer:
    def __init__(self, endpoint, *, hello=True):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        if hello:
            mine = local_versions()
            pid = os.getpid()
            self.send(
                pack(
                    Hello(
                        1,
                        mine.protocol,
                        mine.agentd,
                        mine.python,
                        os.urandom(16),
                        pid,
                        host_identity(),
                        process_start(pid),
                    )
                )
            )
            assert self.answer().kind == "welcome"

    def send(self, frames):
        self.socket.send_multipart(frames)

    def answer(self, limit_ms=20_000):
        assert self.socket.poll(limit_ms), "no answer"
        return unpack(self.socket.recv_multipart())

    def close(self):
        self.context.destroy(0)


@pytest.fixture
def peer(start):
    daemon = start()
    one = Peer(daemon.endpoint)
    one.daemon = daemon
    yield one
    one.close()


HEADERS = {
    "nothing": b"",
    "another protocol": b"HTTP/1.1 200 OK",
    "magic only": b"AGD1",
    "not a map": b"AGD1" + msgpack.packb([1, 2]),
    "no kind": b"AGD1" + msgpack.packb({"id": 1}),
    "unknown kind": b"AGD1" + msgpack.packb({"kind": "evil", "id": 1}),
    "kind of a wrong type": b"AGD1" + msgpack.packb({"kind": ["create"], "id": 1}),
    "keys missing": b"AGD1" + msgpack.packb({"kind": "create"}),
    "wrong types": b"AGD1" + msgpack.packb({"kind": "ping", "id": "one"}),
    "integer keys": b"AGD1" + msgpack.packb({1: 2, "kind": "ping", "id": 1}),
    "extension": b"AGD1" + msgpack.packb({"kind": "ping", "id": msgpack.ExtType(1, b"")}),
    "deep": b"AGD1" + b"\x91" * 60_000,
    "announces 4 G items": b"AGD1\xdd\xff\xff\xff\xff",
    "too long": b"AGD1" + bytes(70_000),
    "huge": b"AGD1" + bytes(5_000_000),
    "trailing": b"AGD1" + msgpack.packb({"kind": "ping", "id": 1}) + b"x",
    "not utf-8": b"AGD1\x82\xa4kind\xa4ping\xa2id\xa2\xff\xfe",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_malformed_header_is_answered_with_an_error(peer, header):
    peer.send([header])

    answer = peer.answer()

    assert isinstance(answer, Error)
    assert answer.code == "ProtocolError"
    assert peer.daemon.client.ping() < 10


def test_what_a_client_may_not_say_is_refused(peer):
    for kind, cls in KINDS.items():
        if kind in {
            "hello",
            "bye",
            "fate",
            "ping",
            "pong",
            "create",
            "locate",
            "ask",
            "call",
            "vouch",
        }:
            continue
        if kind in {"fetch", "attach", "cancel", "keep", "release", "credit", "read", "detach"}:
            continue  # carried to the agent's worker, or to nobody
        values = [_value(types) for _name, types, _default, _required in cls.fields]
        peer.send(pack(cls(*values)))
        assert peer.answer().code == "ProtocolError", kind


def _value(types):
    return {int: 1, float: 1.0, str: "x", bytes: b"x" * 16, bool: True, dict: {}, list: []}[
        types[0]
    ]


def test_without_hello_nothing_is_done(start):
    daemon = start()
    peer = Peer(daemon.endpoint, hello=False)
    try:
        peer.send(pack(Ask(1, "stop")))
        answer = peer.answer()
    finally:
        peer.close()

    assert (answer.code, "hello" in answer.message) == ("ProtocolError", True)
    assert not daemon.client.info()["draining"]


def test_another_version_is_refused_with_both_named(start):
    daemon = start()
    peer = Peer(daemon.endpoint, hello=False)
    try:
        peer.send(pack(Hello(1, 99, "9.9", "4.0.0", bytes(16), 1, "h", "s")))
        answer = peer.answer()
    finally:
        peer.close()

    assert answer.code == "VersionMismatch"
    assert "9.9" in answer.facts["remote"] + answer.facts["local"]


def test_an_error_that_quotes_the_asker_fits_a_header(peer):
    long = "\N{PILE OF POO}" * 12_000
    for question in (
        Locate(2, name=long),
        Ask(3, long),
        Ask(4, "agent", {"agent": long}),
        Ask(5, "logs", {"agent": "x", "after": long}),
        Create(6, bytes(16), "m:C", "spec", "data", name=long),
        Create(7, bytes(16), "m:C", long, "data"),
    ):
        peer.send(pack(question))
        answer = peer.answer()
        assert isinstance(answer, Error)
        assert answer.id == question.id


def test_odd_questions_get_answers(peer):
    for number, params in enumerate(
        [
            {},
            {"agent": 1},
            {"agent": b"x"},
            {"agent": ""},
            {"agent": None},
            {"agent": "zz" * 16},
            {"agent": "0" * 32, "after": float("nan")},
            {"agent": "x", "after": -1, "wait": 1e300},
            {"agent": "x", "wait": True},
        ]
    ):
        for what in ("agent", "delete", "logs", "stopp", ""):
            peer.send(pack(Ask(number, what, params)))
            assert isinstance(peer.answer(), Error), (what, params)


def test_a_creation_without_or_with_a_strange_payload_fails_alone(peer):
    agent = os.urandom(16)
    for payload in ([], [b""], [b"\xff" * 100], [b"x"] * 1024):
        agent = os.urandom(16)
        peer.send([*pack(Create(9, agent, "m:C", "spec", "pickle")), *payload])
        answer = peer.answer()
        assert isinstance(answer, Error), answer
    assert Victim(to_dist=peer.daemon.endpoint).add() == 1


def test_too_many_frames_are_refused(peer):
    peer.send([*pack(Ask(1, "info")), *[b""] * 2_000])

    assert peer.answer().code == "ProtocolError"


def test_mutated_messages(start):
    """Bytes of good messages changed at random: an answer or silence, and everybody is served."""
    chance = dice()
    daemon = start(max_malformed=0)
    peer = Peer(daemon.endpoint)
    agent = Victim(to_dist=daemon.endpoint)
    good = [
        pack(Ask(1, "info"))[0],
        pack(Locate(2, name="x" * 40))[0],
        pack(Create(3, os.urandom(16), "m:C", "spec", "data"))[0],
        pack(error_message(4, ValueError_()))[0],
    ]
    for _ in range(2_000 * ROUNDS):
        header = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            header[chance.randrange(len(header))] = chance.randrange(256)
        peer.send([bytes(header), *[b"p"] * chance.randint(0, 3)])
    peer.send(pack(Ask(77_777, "info")))
    while getattr(peer.answer(), "id", 0) != 77_777:
        pass
    peer.close()

    assert agent.add() == 1
    assert daemon.client.ping() < 10


def test_who_goes_on_with_it_is_not_listened_to_and_the_others_are(start, place):
    daemon = start(max_malformed=5)
    program = place.run(NONSENSE, daemon.endpoint, stdout=subprocess.PIPE, text=True)
    counters = lambda: daemon.client.info()["counters"]  # noqa: E731
    wait_until(lambda: counters()["disconnected_malformed"] >= 2, "it to be disconnected, twice")
    program.kill()
    program.wait()

    told = counters()
    assert told["malformed"] <= 5 * (told["disconnected_malformed"] + 1)
    assert "nothing of it is read for 1 s" in daemon.said()
    assert "nothing of it is read for 2 s" in daemon.said()
    assert Victim(to_dist=daemon.endpoint).add() == 1


NONSENSE = """
import sys
from tests.faults.zmtp import RawPeer, frame
while True:
    try:
        peer = RawPeer(sys.argv[1])
        while peer.send(frame(b"nonsense")): pass
    except (AssertionError, OSError):
        pass
"""
"""A program that connects again whenever it is disconnected."""


def ValueError_():
    from agentd.errors import ConfigError

    return ConfigError("no", key="k")


def test_bytes_that_are_no_zmtp(start):
    chance = dice()
    daemon = start()
    path = daemon.endpoint.removeprefix("ipc://")
    for _ in range(100 * ROUNDS):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(path)
        raw.sendall(chance.randbytes(chance.randint(0, 200)))
        raw.close()

    assert Victim(to_dist=daemon.endpoint).add() == 1
