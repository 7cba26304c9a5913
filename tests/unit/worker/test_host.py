"""What of a client's messages counts as work that helps nobody."""

import pytest

from agentd.client import references
from agentd.client.references import References
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Call, Ping
from agentd.worker.host import Host
from agentd.worker.hosted import Hosted
from agentd.worker.settings import Settings
from agentd.worker.turns import TurnOptions
from tests.unit.worker.fakes import NOWHERE, Later
from tests.unit.worker.fakes import Loop as Timers

BEAT_S = 2.0
AGENT = b"a" * 16


class Loop(Timers):
    """Messages are delivered by hand; what is sent is kept."""

    def __init__(self):
        super().__init__()
        self.served = {}
        self.sent = []

    def serve(self, port, deliver, _whose=None):
        self.served[port] = deliver

    def call_soon(self, action):
        action()

    def was_held_up(self, _seconds):
        return False

    def send(self, _port, frames):
        self.sent.append(unpack(frames[1:]))


class Front:
    fd = 3

    def __init__(self):
        self.charged = []

    def charge(self, route, _size):
        self.charged.append(route)

    def fault(self, _route):
        """It counts as nonsense, too."""


class Back:
    fd = 4

    def flush(self):
        """Nothing waits."""


class Worker:
    def __init__(self):
        self.loop, self.front = Loop(), Front()
        limits = {"client_calls": 10, "client_bytes": 10, "daemon_calls": 10, "daemon_bytes": 10}
        settings = Settings(
            worker="w1", back=-1, listener=-1, address="", daemon="ipc:///x", recorder=-1,
            folder="", sockets=[], path=[], parent=1, owner=0, heartbeat_s=BEAT_S, grace_s=10,
            max_message_bytes=10, max_queued_bytes=10, kept_bytes=0, **limits,
        )  # fmt: skip
        self.agents = Host(settings, self.loop, self.front, Back(), None, Later())._agents

    def gets(self, route, message):
        """The answer."""
        self.loop.served[self.front]([route, *pack(message)])
        return self.loop.sent.pop()


@pytest.fixture
def worker():
    yield Worker()
    references.install(References())


def test_pings_that_are_due_are_not_charged_however_many_connections_there_are(worker):
    routes = [number.to_bytes(5, "big") for number in range(1_000)]
    for _ in range(3):
        for route in routes:
            assert worker.gets(route, Ping(7)).kind == "pong"
        worker.loop.now += BEAT_S / 2
    assert not worker.front.charged


def test_those_beyond_are(worker):
    for number in range(100):
        assert worker.gets(b"route", Ping(number)).id == number
    assert worker.front.charged == [b"route"] * 99


def test_what_comes_too_late_is_refused_and_not_charged(worker):
    worker.agents.come(Hosted(AGENT, 1, "m:C", Later(), TurnOptions(), NOWHERE))
    worker.loop.now = 1000.0
    late = Call(1, AGENT, 1, "method", "work", "data", at=900.0)
    assert worker.gets(b"route", late).code == "TooLate"
    assert not worker.front.charged


def test_what_is_refused_otherwise_is(worker):
    assert worker.gets(b"route", Call(1, AGENT, 1, "method", "work")).code == "AgentNotFound"
    assert worker.front.charged == [b"route"]
