"""Crowds: thousands of connections, or client processes, that one daemon has at the same time."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
import time
import traceback
from typing import Any, Self

from benchmarks.child import command
from benchmarks.rows.calls import check
from benchmarks.system import below

__all__ = ["CALLS", "Connections", "Processes", "crowd"]

CALLS = 10
"""Calls that each process makes."""
AT_ONCE = 100
"""Connections that are being made at the same time."""
FORKS_AT_ONCE = 8
"""Processes that are being started at the same time: more would time out waiting for a core."""
ANSWER_S = 30.0


class Connections:
    """Connections to a daemon that have said hello, each as another client."""

    def __init__(self, endpoint: str, count: int) -> None:
        """``met_s`` is how long it took until all were welcome."""
        import zmq

        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._context: Any = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, count + 10)
        self._sockets: list[Any] = []
        began = time.perf_counter()
        try:
            while len(self._sockets) < count:
                some = [
                    self._connect(endpoint) for _ in range(min(AT_ONCE, count - len(self._sockets)))
                ]
                self._sockets += some
                for socket in some:
                    check(self._answer(socket) == "welcome", "hello")
        except BaseException:
            self.close()
            raise
        self.met_s = time.perf_counter() - began

    def _connect(self, endpoint: str) -> Any:
        import zmq

        from agentd.ids import new_session_id
        from agentd.protocol import PROTOCOL, local_versions, pack
        from agentd.protocol.messages import Hello
        from agentd.transport.process import host_identity, process_start

        mine = local_versions()
        hello = Hello(
            1,
            PROTOCOL,
            mine.agentd,
            mine.python,
            new_session_id(),
            os.getpid(),
            host_identity(),
            process_start(os.getpid()),
            mine.dill,
        )
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send_multipart(pack(hello))
        return socket

    def _answer(self, socket: Any) -> str:
        from agentd.protocol import unpack

        if not socket.poll(ANSWER_S * 1000):
            raise TimeoutError(f"no answer within {ANSWER_S:g} s")
        return unpack(socket.recv_multipart()).kind

    def ping_all(self) -> float:
        """Seconds until each of them had the answer to a ping; all ask at once."""
        from agentd.protocol import pack
        from agentd.protocol.messages import Ping

        frames = pack(Ping(2))
        began = time.perf_counter()
        for socket in self._sockets:
            socket.send_multipart(frames)
        for socket in self._sockets:
            check(self._answer(socket) == "pong", "ping")
        return time.perf_counter() - began

    def close(self) -> None:
        """All of them."""
        for socket in self._sockets:
            socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Processes:
    """Client processes that have called an agent once, and stay."""

    def __init__(self, addresses: list[list[Any]], count: int) -> None:
        """``joined_s`` is how long it took until the last of them had its answer."""
        job = {"addresses": addresses, "count": count}
        self._process = subprocess.Popen(
            command("crowd", job), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.joined_s = self._seconds()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return below(self._process.pid)

    def _seconds(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        check(bool(line), "the crowd of processes ended early")
        return float(line)

    def call_all(self) -> float:
        """Seconds until all of them have made their calls, all at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._seconds()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def crowd(addresses: list[list[Any]], count: int) -> None:
    """The parent of the processes: forks them, so that a thousand fit into the memory."""
    import agentd.client.client  # before the first fork: every child has it then

    del agentd
    go_read, go_write = os.pipe()
    end_read, end_write = os.pipe()
    told_read, told_write = os.pipe()
    began = time.perf_counter()
    children: list[int] = []
    joined = 0
    while joined < count:
        while len(children) < count and len(children) - joined < FORKS_AT_ONCE:
            pid = os.fork()
            if pid == 0:
                os.close(end_write)
                address = addresses[len(children) % len(addresses)]
                _member(address, go_read, told_write, end_read)
            children.append(pid)
        joined += _told(told_read)
    print(time.perf_counter() - began, flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    os.write(go_write, b"g" * count)
    done = 0
    while done < count:
        done += _told(told_read)
    print(time.perf_counter() - began, flush=True)
    sys.stdin.read()
    os.close(end_write)
    for pid in children:
        os.waitpid(pid, 0)


def _told(read: int) -> int:
    if not select.select([read], [], [], ANSWER_S)[0]:
        raise TimeoutError(f"a client process has not answered for {ANSWER_S:g} s")
    words = os.read(read, 4096)
    check(b"!" not in words, "a client process failed")
    return len(words)


def _member(address: list[Any], go: int, told: int, end: int) -> None:
    """One client process; it does not return.

    It goes at a byte from ``go``, which it takes from the others, and ends as ``end`` is closed.
    """
    from agentd.client.runtime import runtime
    from benchmarks.contestants import contestant

    try:
        one = contestant("agentd")
        agent = one.join(address)
        check(one.call(agent, "echo", 0) == 0, "echo")
        os.write(told, b"j")
        if select.select([go, end], [], [])[0] != [end] and os.read(go, 1):
            for i in range(CALLS):
                check(one.call(agent, "echo", i) == i, "echo")
            os.write(told, b"d")
            os.read(end, 1)
        runtime().close()
    except BaseException:  # noqa: BLE001 - it is told, and the process ends
        traceback.print_exc()
        os.write(told, b"!")
    finally:
        os._exit(0)
