"""The authenticator's answers (ZeroMQ RFC 27): only a known key, and only as the RFC asks."""

import threading
import time

import pytest
import zmq

from agentd.transport import zap
from agentd.transport.zap import ENDPOINT, PATIENCE, Authenticator, answer

KEY = bytes(range(32))
GOOD = [b"1.0", b"7", b"agentd", b"127.0.0.1", b"", b"CURVE", KEY]


def decide(key):
    return "key:me" if key == KEY else None


def test_a_known_key_gets_its_name():
    assert answer(GOOD, decide) == [b"1.0", b"7", b"200", b"OK", b"key:me", b""]


def changed(at, value):
    return [value if index == at else part for index, part in enumerate(GOOD)]


@pytest.mark.parametrize(
    "request_",
    [
        changed(6, bytes(32)),
        changed(6, b""),
        changed(6, KEY + b"\0"),
        changed(5, b"NULL"),
        changed(5, b"PLAIN"),
        changed(2, b""),
        changed(2, b"global"),
        changed(0, b"2.0"),
        GOOD[:6],
        [*GOOD, b"more"],
        [b"1.0"],
        [],
    ],
)
def test_everything_else_is_refused_without_a_name(request_):
    reply = answer(request_, decide)
    assert len(reply) == 6
    assert reply[2] in (b"400", b"500")
    assert reply[4] == b""


@pytest.fixture
def context():
    with zmq.Context() as made:
        yield made


def ask(context, parts):
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(ENDPOINT)
        socket.send_multipart(parts)
        assert socket.poll(10_000), "no answer"
        return socket.recv_multipart()


def test_a_judge_that_raises_refuses_and_the_next_is_judged_again(context):
    def raising(key):
        if key == KEY:
            raise ValueError("oops")
        return "key:other"

    keeper = Authenticator(context, raising, lambda: pytest.fail("it lives"))
    try:
        assert ask(context, GOOD)[2] == b"500"
        assert ask(context, changed(6, bytes(32)))[4] == b"key:other"
    finally:
        keeper.stop()


def test_its_end_is_told(context, monkeypatch):
    died = threading.Event()
    keeper = Authenticator(context, decide, died.set)
    assert not died.is_set()
    monkeypatch.setattr(keeper, "_reply", lambda _request: [object()])  # cannot be sent
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(ENDPOINT)
        socket.send_multipart(GOOD)
        assert died.wait(10)
    keeper.stop()


def test_stopped_on_purpose_it_tells_nothing(context):
    keeper = Authenticator(context, decide, lambda: pytest.fail("that was on purpose"))
    keeper.stop()


# -- who waits -------------------------------------------------------------------------------------
class Asking:
    """A handshake that asks the authenticator."""

    def __init__(self, context, parts=GOOD):
        self.socket = context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(ENDPOINT)
        self.socket.send_multipart(parts)

    def answered(self, timeout_ms=10_000):
        return self.socket.recv_multipart()[2] if self.socket.poll(timeout_ms) else None


@pytest.fixture
def keep(context):
    kept, asked = [], []

    def keep(waits, **how):
        kept.append(Authenticator(context, decide, lambda: pytest.fail("it lives"), **how))
        kept[0].waits = waits
        return kept[0]

    def ask(parts=GOOD):
        asked.append(Asking(context, parts))
        return asked[-1]

    yield keep, ask
    for one in asked:
        one.socket.close()
    for one in kept:
        one.stop()


def test_a_peer_of_which_nothing_is_read_waits_and_nobody_else_does(keep):
    keep, ask = keep
    asked_of = []

    def waits(peer):
        asked_of.append(peer)
        return 0.3 if peer.endswith("127.0.0.1") else 0.0

    keep(waits)
    began = time.monotonic()
    waiting, stranger = ask(), ask(changed(6, bytes(32)))
    other = ask(changed(3, b"127.0.0.2"))
    assert (other.answered(), stranger.answered()) == (b"200", b"400")
    assert waiting.answered() == b"200"
    assert time.monotonic() - began >= 0.3
    assert asked_of == ["key:me 127.0.0.1", "key:me 127.0.0.2"]


def test_whoever_waits_is_judged_when_it_is_answered(keep):
    keep, ask = keep
    authenticator = keep(lambda _peer: 0.2)
    judged = iter(["key:me", None])  # revoked meanwhile
    authenticator._decide = lambda _key: next(judged)
    assert ask().answered() == b"400"


def test_nobody_waits_until_his_handshake_is_ended_and_no_more_than_so_many_do(keep, monkeypatch):
    monkeypatch.setattr(zap, "MOST_WAITING", 1)
    keep, ask = keep
    seconds = {"127.0.0.1": 60.0, "127.0.0.2": 60.0, "127.0.0.3": 0.0}
    authenticator = keep(lambda peer: seconds[peer.split()[1]], handshake_s=0.4)
    began = time.monotonic()
    long, too_many, last = (ask(changed(3, a.encode())) for a in seconds)
    assert last.answered() == b"200"
    answered = [long.answered(), too_many.answered()]
    assert answered == [b"200", b"200"]
    assert time.monotonic() - began >= 0.4 * PATIENCE
    assert not authenticator._waiting
