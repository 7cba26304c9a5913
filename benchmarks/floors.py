"""The floors: the least that an honest remote call costs over bare pyzmq, on ``ipc://``.

``rpc``     client DEALER -> server ROUTER. A msgpack envelope (request, agent, method), arguments
            and result by pickle 5 with out-of-band buffers, dispatch to an object. No errors, no
            deadlines, no threads, no supervision: a floor, not a system.
``broker``  the same through one more process that forwards frames both ways.

This file is also the program of the servers and of the cold start, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import zmq

__all__ = ["BrokerFloor", "RpcFloor"]

BIG = 1 << 16
"""Frames from this size on are not copied."""
Agent = tuple[int, int]
"""Which server, and which object there."""


class Echo:
    """The object that is hosted."""

    def __init__(self) -> None:
        self.total = 0

    def echo(self, x: Any) -> Any:
        """The same."""
        return x

    def add(self, n: int) -> int:
        """The sum so far."""
        self.total += n
        return self.total


# -- both sides ------------------------------------------------------------------------------------
def _socket(kind: int) -> Any:
    context: Any = zmq.Context.instance()
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


def _pickled(value: Any) -> list[Any]:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def _receive(socket: Any) -> list[Any]:
    return [
        frame.bytes if len(frame) < BIG else frame.buffer
        for frame in socket.recv_multipart(copy=False)
    ]


# -- servers ---------------------------------------------------------------------------------------
def _serve(endpoint: str, link: str) -> None:
    """Bind a ROUTER at ``endpoint``, or be the worker behind a broker's ``link``."""
    if link:
        socket: Any = _socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"worker")
        socket.connect(link)
        socket.send(b"hello")
        socket.recv()  # the broker knows us: nothing can be dropped
    else:
        socket = _socket(zmq.ROUTER)
        socket.bind(endpoint)
    _say_ready()
    objects: dict[int, Any] = {}
    while True:
        client, envelope, *frames = _receive(socket)
        request, number, method = msgpack.unpackb(envelope)
        args = pickle.loads(frames[0], buffers=frames[1:])  # noqa: S301 - it is what is measured
        if method == "create":
            objects[number] = Echo()
            result: Any = number
        elif method == "delete":
            result = objects.pop(number, None) and number
        else:
            result = getattr(objects[number], method)(*args)
        answer = [client, msgpack.packb((request, True)), *_pickled(result)]
        socket.send_multipart(answer, copy=False)


def _forward(endpoint: str, link: str) -> None:
    front, back = _socket(zmq.ROUTER), _socket(zmq.ROUTER)
    front.bind(endpoint)
    back.bind(link)
    _say_ready()
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        for source, _ in poller.poll():
            for _ in range(64):
                try:
                    frames = source.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                if source is front:
                    back.send_multipart([b"worker", *frames], copy=False)
                elif len(frames) > 2:
                    front.send_multipart(frames[1:], copy=False)
                else:  # the worker's hello
                    back.send_multipart([frames[0], b"welcome"])


def _say_ready() -> None:
    os.write(1, b"READY\n")


# -- the client ------------------------------------------------------------------------------------
class RpcFloor:
    """See ``benchmarks.contestants.Contestant``."""

    name = "rpc"

    def __init__(self) -> None:
        self._folder = ""
        self._servers: list[subprocess.Popen[bytes]] = []
        self._sockets: list[Any] = []
        self._endpoints: list[str] = []
        self._requests = 0
        self._objects = 0

    # -- processes ---------------------------------------------------------------------------------
    def start(self) -> None:
        """Start a server and connect to it."""
        self._folder = tempfile.mkdtemp(prefix="floor-", dir="/tmp")
        self._add()

    def stop(self) -> None:
        """End all that was started."""
        for socket in self._sockets:
            socket.close()
        for server in reversed(self._servers):
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        self._servers, self._sockets, self._endpoints = [], [], []
        shutil.rmtree(self._folder, ignore_errors=True)

    def servers(self) -> list[int]:
        """Their process ids."""
        return [server.pid for server in self._servers]

    def _add(self) -> None:
        endpoint = f"ipc://{self._folder}/{len(self._endpoints)}"
        self._start_server(endpoint)
        self._connect(endpoint)

    def _start_server(self, endpoint: str) -> None:
        self._run("serve", endpoint, "")

    def _run(self, *args: str) -> None:
        command = [sys.executable, "-P", __file__, *args]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._servers.append(server)
        assert server.stdout is not None
        if server.stdout.readline() != b"READY\n":
            raise RuntimeError("a floor's server did not start")

    def _connect(self, endpoint: str) -> None:
        socket = _socket(zmq.DEALER)
        socket.connect(endpoint)
        self._endpoints.append(endpoint)
        self._sockets.append(socket)

    # -- agents ------------------------------------------------------------------------------------
    def create(self, count: int, **_options: Any) -> list[Agent]:
        """Make objects; returns when the server said that all are there."""
        return self._create(0, count)

    def _create(self, server: int, count: int) -> list[Agent]:
        agents = [(server, self._objects + i) for i in range(count)]
        self._objects += count
        list(self.call_many(((agent, "create", ()) for agent in agents), 256))
        return agents

    def delete(self, agents: list[Agent]) -> None:
        """Drop them."""
        list(self.call_many(((agent, "delete", ()) for agent in agents), 256))

    def spread(self, count: int) -> list[list[Any]]:
        """Objects that other processes can reach, on as many servers as there are cores."""
        servers = min(count, len(os.sched_getaffinity(0)))
        while len(self._servers) < servers:
            self._add()
        agents = [self._create(i % servers, 1)[0] for i in range(count)]
        return [[self._endpoints[server], number] for server, number in agents]

    def join(self, address: list[Any]) -> Agent:
        """Reach such an object, from another process."""
        endpoint, number = address
        self._connect(endpoint)
        return (len(self._sockets) - 1, number)

    # -- calls -------------------------------------------------------------------------------------
    def call(self, agent: Agent, method: str, *args: Any) -> Any:
        """Call and wait."""
        request = self._send(agent, method, args)
        return self._take(self._sockets[agent[0]], request)

    def call_many(
        self, calls: Iterable[tuple[Agent, str, tuple[Any, ...]]], window: int
    ) -> Iterator[Any]:
        """Keep that many calls of one server in flight; the results, in order."""
        pending: deque[tuple[Any, int]] = deque()
        for agent, method, args in calls:
            if len(pending) >= window:
                yield self._take(*pending.popleft())
            pending.append((self._sockets[agent[0]], self._send(agent, method, args)))
        while pending:
            yield self._take(*pending.popleft())

    def _send(self, agent: Agent, method: str, args: tuple[Any, ...]) -> int:
        self._requests += 1
        envelope = msgpack.packb((self._requests, agent[1], method))
        self._sockets[agent[0]].send_multipart([envelope, *_pickled(args)], copy=False)
        return self._requests

    def _take(self, socket: Any, request: int) -> Any:
        envelope, *frames = _receive(socket)
        if msgpack.unpackb(envelope)[0] != request:
            raise RuntimeError("the floor's answers came out of order")
        return pickle.loads(frames[0], buffers=frames[1:])  # noqa: S301 - as above

    # -- from nothing ------------------------------------------------------------------------------
    def cold_command(self) -> list[str]:
        """A program that starts everything, prints ``first`` and ends."""
        return [sys.executable, "-P", str(Path(__file__)), "cold", self.name]


class BrokerFloor(RpcFloor):
    """Through one more process."""

    name = "broker"

    def _start_server(self, endpoint: str) -> None:
        self._run("forward", endpoint, f"{endpoint}w")
        self._run("serve", "", f"{endpoint}w")


def _cold(name: str) -> None:
    floor = {kind.name: kind for kind in (RpcFloor, BrokerFloor)}[name]()
    floor.start()
    try:
        [agent] = floor.create(1)
        print(floor.call(agent, "echo", "first"), flush=True)
    finally:
        floor.stop()


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"serve": _serve, "forward": _forward, "cold": _cold}
    programs[sys.argv[1]](*sys.argv[2:])
