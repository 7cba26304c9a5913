"""A daemon and workers without processes, a network without sockets, a clock that is told the time.

All happens at once and in the thread that sends: nothing has to be waited for.
"""

import os
import threading
import time
from collections import deque
from types import SimpleNamespace

import zmq

from agentd.client.session import Session
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Hello, Locate, Ping, Pong, Ready, Vouch, Vouched, Welcome

AGENT = bytes(range(16))
BEAT_S = 0.25


class Clock:
    """Begins now, so that it may be compared with dates of the real one."""

    def __init__(self):
        self.now = time.monotonic()

    def __call__(self):
        return self.now


class Frame:
    """As pyzmq gives them with ``copy=False``."""

    def __init__(self, data):
        self.bytes = bytes(data)
        self.buffer = memoryview(self.bytes)

    def __len__(self):
        return len(self.bytes)


class Signal:
    """What of a socket can be polled; also the socket that tells of a broken connection."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.raised = False

    def set(self):
        self.raised = True
        os.eventfd_write(self.fd, 1)

    def clear(self):
        if self.raised:
            self.raised = False
            os.eventfd_read(self.fd)

    def setsockopt(self, *_):
        pass

    def getsockopt(self, option):
        return self.fd if option == zmq.FD else zmq.POLLIN * self.raised

    def close(self, *_):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Dealer:
    """The client's end of a connection."""

    def __init__(self, network):
        self._network = network
        self._signal = Signal()
        self._broken = Signal()
        self._lock = threading.Lock()  # protects the inbox and its signal
        self._inbox = deque()
        self._parts = []
        self.setsockopt = self._signal.setsockopt
        self.getsockopt = self._signal.getsockopt

    def connect(self, endpoint):
        self.peer = self._network.peers[endpoint]
        self.peer.connections.append(self)

    def poll(self, *_):
        return zmq.POLLOUT

    def send(self, frame, flags, *, copy):
        self._parts.append(bytes(frame))
        if not flags & zmq.SNDMORE:
            parts, self._parts = self._parts, []
            self.peer.hears(self, parts)

    def deliver(self, message, payload=()):
        with self._lock:
            self._inbox.append([Frame(part) for part in pack(message, list(payload))])
            self._signal.set()

    def recv_multipart(self, *_, **__):
        with self._lock:
            parts = self._inbox.popleft()
            if not self._inbox:
                self._signal.clear()
        return parts

    def break_off(self):
        self._broken.set()

    def get_monitor_socket(self, _events):
        return self._broken

    def disable_monitor(self):
        pass

    def close(self, _linger):
        self._signal.close()


class Peer:
    """A daemon or a worker: notes what it is told and answers what has only one answer."""

    def __init__(self, network, role, endpoint):
        self.role = role
        self.endpoint = endpoint
        self.connections = []
        self.told = []
        self.silent = False
        self.vouches = None
        self.place = None
        self.told_of_a_call = threading.Event()
        network.peers[endpoint] = self

    def hears(self, connection, frames):
        message = unpack(frames)
        self.told.append(message)
        if message.kind == "call":
            self.told_of_a_call.set()
        if not self.silent:
            self.answer(connection, message)

    def answer(self, connection, message):
        match message:
            case Hello():
                connection.deliver(
                    Welcome(message.id, message.protocol, "1", "3", self.role, "n", 1.0, 15.0)
                )
            case Ping():
                connection.deliver(Pong(message.id))
            case Vouch() if self.vouches is not None:
                connection.deliver(Vouched(message.id, self.vouches))
            case Locate() if self.place is not None:
                connection.deliver(self.located(message.id))

    def located(self, number):
        return Ready(number, AGENT, "m:T", "w", self.place.endpoint, 1, {})

    def kinds(self):
        return [message.kind for message in self.told]

    def of_kind(self, kind):
        return [message for message in self.told if message.kind == kind]


class Network:
    """In place of the zmq context."""

    def __init__(self):
        self.peers = {}

    def socket(self, _kind):
        return Dealer(self)


class Aside:
    """Work for other threads; done when told to, in this one."""

    def __init__(self):
        self.steps = []

    def busy(self, peer):
        return any(found == peer for found, _step in self.steps)

    def do(self, peer, step):
        self.steps.append((peer, step))

    def run(self):
        while self.steps:
            self.steps.pop(0)[1]()


class World:
    """A session with a daemon; one agent, in one worker."""

    def __init__(self, listen):
        self.listen = listen
        self.clock = Clock()
        self.network = Network()
        self.aside = Aside()
        self.daemon = self.peer("daemon")
        self.worker = self.daemon.place = self.peer("worker")
        self.runtime = SimpleNamespace(
            context=self.network,
            pump=SimpleNamespace(arm=lambda _link: None),
            session=bytes(16),
            aside=self.aside,
        )

    def peer(self, role):
        return Peer(self.network, role, self.listen(f"{role}{len(self.network.peers)}"))

    def session(self, *, direct=True):
        return Session(self.runtime, self.daemon.endpoint, direct=direct, clock=self.clock)

    def beats(self, session, seconds):
        """As the pump does it, for so long."""
        for _ in range(round(seconds / BEAT_S)):
            self.clock.now += BEAT_S
            session.beat(self.clock.now)
