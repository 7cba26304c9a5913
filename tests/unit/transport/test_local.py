"""How connections within a host are made, and waited for."""

import os
import shutil
import signal
import socket
import tempfile
import threading

import pytest

from agentd.transport import local

LONG_S = 60.0


@pytest.fixture
def path():
    folder = tempfile.mkdtemp(prefix="ag")
    yield f"{folder}/s"
    shutil.rmtree(folder)


@pytest.fixture
def full(path):
    """A listener where as many wait to be accepted as may: one more than its backlog."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)
    yield listener
    waiting.close()
    listener.close()


@pytest.fixture
def waiting(path):
    """Begin to wait for room; what came of it, once somebody asks."""

    def begin():
        waiter.start()

        def end():
            waiter.join(LONG_S)
            return came

        return end

    came = []
    waiter = threading.Thread(target=lambda: came.append(local.wait_for_room(path, LONG_S)))
    return begin


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
def test_it_is_waited_for_room_no_longer_than_told(full, path, seconds):
    assert not local.wait_for_room(path, seconds)
    with pytest.raises(BlockingIOError):
        local.connect(path, seconds)


def test_there_is_room_as_soon_as_somebody_is_accepted(full, waiting):
    ended = waiting()
    full.accept()[0].close()

    assert ended() == [True]


def test_it_is_waited_in_the_kernel_whatever_this_program_has_as_its_default(full, waiting):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.0)
    try:
        ended = waiting()
        full.accept()[0].close()
        assert ended() == [True]
    finally:
        socket.setdefaulttimeout(before)


def test_a_signal_that_ends_the_wait_is_no_connection(full, path):
    """Python takes it for one, and has a socket that is connected to nobody."""
    before = signal.signal(signal.SIGUSR1, lambda *_: full.accept()[0].close())
    kill = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    kill.start()
    try:
        port = local.connect(path, LONG_S)
        full.settimeout(LONG_S)
        full.accept()[0].close()
        port.close()
    finally:
        kill.join()
        signal.signal(signal.SIGUSR1, before)


def test_where_nobody_listens_there_is_no_room(path):
    assert not local.wait_for_room(path, LONG_S)
    with pytest.raises(FileNotFoundError):
        local.connect(path, LONG_S)
