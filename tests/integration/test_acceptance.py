"""Who waits at a listening socket waits for nothing there for a while: epolls, and libzmq."""

import contextlib
import os
import select
import socket

import pytest
import zmq

from agentd.transport.acceptance import Acceptance
from tests.integration.conftest import wait_until


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        made.listen()
        yield made


@pytest.fixture
def epoll(listener):
    with contextlib.closing(select.epoll()) as made:
        made.register(listener.fileno(), select.EPOLLIN)
        yield made


def connect(listener):
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(listener.getsockname())
    return connected


def test_while_it_pauses_nothing_is_told_and_then_the_same_as_before(listener, epoll):
    found = Acceptance.of(listener.fileno())
    assert found.epoll == epoll.fileno()
    assert found.pause()
    with connect(listener):
        assert epoll.poll(0) == []
        assert found.admit()
        assert epoll.poll(0) == [(listener.fileno(), select.EPOLLIN)]


def test_where_nobody_waits_or_somebody_twice_nobody_is_found(listener):
    assert Acceptance.of(listener.fileno()) is None
    with contextlib.ExitStack() as both:
        for _ in range(2):
            epoll = both.enter_context(contextlib.closing(select.epoll()))
            epoll.register(listener.fileno(), select.EPOLLIN)
        assert Acceptance.of(listener.fileno()) is None
    assert Acceptance.of(-1) is None


def test_a_descriptor_that_was_anothers_is_not_taken_for_it(listener, epoll, tmp_path):
    """An epoll knows what it waits for by the file, too, which a copy keeps open."""
    fd = listener.fileno()
    with socket.socket(socket.AF_UNIX) as other, contextlib.closing(os.fdopen(os.dup(fd), "rb")):
        os.dup2(other.fileno(), fd)
        assert Acceptance.of(fd) is None


def test_it_cannot_be_paused_any_more_once_nobody_waits(listener, epoll):
    found = Acceptance.of(listener.fileno())
    epoll.unregister(listener.fileno())
    assert not found.pause()
    assert not found.admit()


def test_libzmq_accepts_nobody_then_and_those_who_are_in_notice_nothing(tmp_path):
    context = zmq.Context()
    router, first, second = (context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER, zmq.DEALER))
    monitor = router.get_monitor_socket(zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED)

    def told():
        assert monitor.poll(10_000)
        head, _endpoint = monitor.recv_multipart()
        return int.from_bytes(head[:2], "little"), int.from_bytes(head[2:], "little")

    def speak(dealer):
        dealer.send(b"hello")
        assert router.poll(10_000)
        return router.recv_multipart()[1]

    endpoint = f"ipc://{tmp_path}/socket"
    with context, router, first, second, monitor:
        router.bind(endpoint)
        kind, fd = told()
        assert kind == zmq.EVENT_LISTENING
        first.connect(endpoint)
        assert told()[0] == zmq.EVENT_ACCEPTED
        found = []
        wait_until(lambda: found.append(Acceptance.of(fd)) or found[-1], "libzmq to wait for it")
        assert found[-1].pause()
        second.connect(endpoint)
        second.send(b"hello")
        assert not monitor.poll(300)
        assert speak(first) == b"hello"
        assert found[-1].admit()
        assert told()[0] == zmq.EVENT_ACCEPTED
        assert router.poll(10_000)
        assert router.recv_multipart()[1] == b"hello"
        for socket_ in (router, first, second):
            socket_.setsockopt(zmq.LINGER, 0)
        router.disable_monitor()
