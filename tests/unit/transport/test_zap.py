"""The authenticator's answers (ZeroMQ RFC 27): only a known key, and only as the RFC asks."""

import threading

import pytest
import zmq

from agentd.transport.zap import ENDPOINT, Authenticator, answer

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
