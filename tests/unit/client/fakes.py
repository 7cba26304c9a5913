"""A daemon and workers without processes, a network without sockets, a clock that is told the time.

All happens at once and in the thread that sends: nothing has to be waited for.
"""

import os
import threading
import time
from collections import deque
from types import SimpleNamespace

from agentd.client.pump import BEAT_S
from agentd.client.session import Session
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Hello, Locate, Ping, Pong, Ready, Vouch, Vouched, Welcome

AGENT = bytes(range(16))


class Clock:
    """Begins now, so that it may be compared with dates of the real one."""

    def __init__(self):
        self.now = time.monotonic()

    def __call__(self):
        return self.now


class FakePort:
    """The client's end of a connection."""

    level = False

    def __init__(self, network, endpoint):
        self.lock = threading.RLock()  # peers answer from within ``send_locked``
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.fds = (self.fd,)
        self.closed = False
        self._broken = False
        self._inbox = deque()
        self.peer = network.peers[endpoint]
        self.peer.connections.append(self)

    def send_locked(self, frames):
        self.peer.hears(self, [bytes(frame) for frame in frames])
        return bool(self._inbox)

    def deliver(self, message, payload=()):
        with self.lock:
            self._inbox.append(pack(message, list(payload)))
            self._signal()

    def receive_locked(self, _most):
        messages = list(self._inbox)
        self._inbox.clear()
        return messages, False

    def break_off(self):
        self._broken = True
        self._signal()

    def _signal(self):
        os.eventfd_write(self.fd, 1)

    def has_broken(self):
        return self._broken

    def close_locked(self, _linger_ms=0):
        if not self.closed:
            self.closed = True
            os.close(self.fd)


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
    """Who is where."""

    def __init__(self):
        self.peers = {}

    def dial_daemon(self, _context, endpoint, _timeout):
        return FakePort(self, endpoint)

    def dial_worker(self, address, _timeout):
        return FakePort(self, address)


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
        self.roused = []
        self.armed = []
        self.runtime = SimpleNamespace(
            context=None,
            pump=SimpleNamespace(
                arm=self.armed.append,
                watch=lambda _link: None,
                rouse=lambda: self.roused.append(self.clock.now),
            ),
            session=bytes(16),
            aside=self.aside,
        )

    def peer(self, role):
        name = f"{role}{len(self.network.peers)}"
        return Peer(self.network, role, self.listen(name, "ipc" if role == "daemon" else "unix"))

    def session(self, *, direct=True):
        return Session(self.runtime, self.daemon.endpoint, direct=direct, clock=self.clock)

    def beats(self, session, seconds):
        """As the pump does it, for so long."""
        until, rest = self.clock.now + seconds, BEAT_S
        while self.clock.now + rest <= until:
            self.clock.now += rest
            rest = session.beat(self.clock.now)
