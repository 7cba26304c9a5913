"""A front without ZeroMQ: who sent what, who came and went, and what leaves together."""

import os
import time

import pytest

from agentd.transport import local
from agentd.transport.connections import Connections
from agentd.transport.debts import CREDIT
from agentd.transport.localfront import LocalFront
from agentd.transport.origin import disconnect, mark_of
from agentd.transport.shares import SHARE
from agentd.transport.unreachable import Unreachable

LONG_S = 20


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture
def front(path):
    made = LocalFront(
        local.listen(path), uids=lambda _uid: True, most=10_000, most_queued=1_000_000
    )
    yield made
    made.close()


@pytest.fixture
def book(front, path):
    made = Connections(2, lambda: 0.0)
    made.follow(front)
    made.bound(path)
    return made


@pytest.fixture
def client(path):
    port = local.connect(path, LONG_S, shares=False)
    yield port
    port.close()


def come(front, many=1):
    """What comes, once it has."""
    came = []
    end = time.monotonic() + LONG_S
    while len(came) < many:
        assert time.monotonic() < end
        came += front.receive(100)[0]
    return came


def until(front, holds):
    end = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < end
        front.receive(100)


def test_each_message_tells_who_sent_it(front, client):
    client.send([b"header", b"payload"])
    [[origin, *frames]] = come(front)
    assert frames == [b"header", b"payload"]
    assert origin.who == f"uid:{os.geteuid()}"
    assert origin.is_ours


def test_what_was_sent_before_the_end_still_comes(front, client, book):
    client.send([b"bye"])
    client.close()
    [[origin, bye]] = come(front)
    assert (origin.who, bye) == (f"uid:{os.geteuid()}", b"bye")
    until(front, lambda: not len(book))


def test_answers_leave_together_when_told_to(front, client):
    client.send([b"hello"])
    [[origin, _]] = come(front)
    front.put([origin.route, b"one"])
    front.put([origin.route, b"two"])
    assert client.receive(10) == ([], False)
    front.flush()
    assert client.receive(10)[0] == [[b"one"], [b"two"]]


def test_who_has_gone_is_not_answered(front, client, book):
    client.send([b"hello"])
    [[origin, _]] = come(front)
    client.close()
    until(front, lambda: not len(book))
    with pytest.raises(Unreachable):
        front.put([origin.route, b"one"])


def test_who_does_not_read_is_cut_off(front, client, book):
    client.send([b"hello"])
    [[origin, _]] = come(front)

    def answer_for_ever():
        while True:
            front.put([origin.route, b"x" * 9_000])
            front.flush()

    with pytest.raises(Unreachable, match="does not read"):
        answer_for_ever()
    assert front.cut_off == 1
    until(front, lambda: not len(book))


def test_the_book_knows_each_connection_and_ends_it(front, client, book):
    client.send([b"hello", b"x" * 10])
    [[origin, *_]] = come(front)
    [known] = book
    assert book.find(0, origin.route) is known
    assert (known.messages, known.bytes) == (1, 15)
    assert book.who(known) == f"process {os.getpid()} of user {os.geteuid()}"
    assert book.end(known)
    until(front, lambda: not len(book))
    assert client.receive(10) == ([], False)
    assert client.has_broken()


def test_one_too_many_is_shed(front, book, path):
    lost = []
    book.on_lost = lost.append
    ports = [local.connect(path, LONG_S, shares=False) for _ in range(3)]
    until(front, lambda: len(lost) == 1)
    assert (book.shed, len(book)) == (1, 2)
    for port in ports:
        port.close()


def test_a_message_that_is_too_long_ends_its_connection(front, client, book):
    client.send([b"hello"])
    come(front)
    client.send([b"x" * 10_001])
    until(front, lambda: not len(book))
    assert client.receive(10) == ([], False)
    assert client.has_broken()


def test_who_makes_work_that_helps_nobody_is_served_slowly_and_whole(front, client, path):
    many = int(CREDIT) + 5 * SHARE
    for number in range(many):
        client.send([b"%d" % number])
    came, rested = [], False
    end = time.monotonic() + LONG_S
    while len(came) < many:
        assert time.monotonic() < end
        messages, more = front.receive(100)
        for message in messages:
            front.charge(message[0].route, 1)
        came += [body for _, body in messages]
        rested = rested or (more and not messages and front.rest_s() > 0.0)
    assert rested
    assert came == [b"%d" % number for number in range(many)]


def test_what_a_process_owes_is_not_forgotten_with_its_connection(front, client, path):
    client.send([b"hello"])
    [[origin, _]] = come(front)
    for _ in range(2 * int(CREDIT)):
        front.charge(origin.route, 1)
    client.close()
    until(front, lambda: not len(front))
    front.forget(origin.route)
    again = local.connect(path, LONG_S, shares=False)
    try:
        for _ in range(2 * SHARE):
            again.send([b"again"])
        [[after, _], *rest] = come(front)
        assert after.peer == origin.peer
        assert after.route != origin.route
        assert len(rest) < 2 * SHARE - 1
        assert front.rest_s() > 0.0
    finally:
        again.close()


def test_of_whom_a_message_came_is_told_by_process(front, client):
    client.send([b"hello"])
    [[origin, _]] = come(front)
    assert origin.peer == f"uid:{os.geteuid()} pid:{os.getpid()}"
    assert disconnect(origin.fd, mark_of(origin.fd))
    until(front, lambda: not len(front))


def test_long_frames_are_sent_as_they_are_and_not_shared(path):
    front = LocalFront(
        local.listen(path), uids=lambda _uid: True, most=10_000_000, most_queued=100_000_000
    )
    client = local.connect(path, LONG_S, shares=False)
    long = os.urandom(3_000_000)
    try:
        for _ in range(4):  # the third would be shared
            client.send([b"there", long])
            back, end = [], time.monotonic() + LONG_S
            while not back:
                assert time.monotonic() < end
                for origin, *frames in front.receive(100)[0]:
                    front.put([origin.route, *frames])
                    front.flush()
                back = client.receive(1)[0]  # each sends what waits, too
            assert [bytes(frame) for frame in back[0]] == [b"there", long]
    finally:
        client.close()
        front.close()
