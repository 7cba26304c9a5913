"""What of a client's messages counts as work that helps nobody."""

from types import SimpleNamespace

import pytest

from agentd.client import references
from agentd.client.references import References
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Call, Ping
from agentd.transport.counted import Counted
from agentd.worker.desk import HOLD_S
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

    def owner(self, route):
        return "uid:0 pid:1" if route in (b"route", b"another") else route

    def fault(self, _route, _header_bytes):
        """It counts as nonsense, too."""

    def has_read(self, route):
        return route == b"route"


class Back:
    fd = 4

    def flush(self):
        """Nothing waits."""


class Recorder:
    def enter(self, _agent):
        return 1

    def leave(self, _slot):
        """It does not run any more."""


class Worker:
    def __init__(self):
        self.loop, self.front = Loop(), Front()
        room = {"calls": 3, "bytes": 1_000}
        whose = ("client", "agent", "daemon")
        limits = {f"{who}_{what}": most for who in whose for what, most in room.items()}
        settings = Settings(
            worker="w1", back=-1, listener=-1, address="", daemon="ipc:///x", recorder=-1,
            folder="", sockets=[], path=[], parent=1, owner=0, heartbeat_s=BEAT_S, grace_s=10,
            max_message_bytes=500, max_queued_bytes=10, kept_bytes=0, **limits,
        )  # fmt: skip
        self.back, self.threads = Back(), Later()
        self.host = Host(settings, self.loop, self.front, self.back, Recorder(), self.threads)
        self.agents = self.host._agents

    def gets(self, route, message, payload=(), port=None):
        """The answer."""
        self.says(route, message, payload, port)
        return self.loop.sent.pop()

    def says(self, route, message, payload=(), port=None):
        self.loop.served[port or self.front]([route, *pack(message), *payload])

    @property
    def open(self):
        return len(self.host.questions)


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


def test_what_comes_late_waits_for_its_cancellation_and_nobody_else_does(slow):
    slow.loop.now = 1000.0
    slow.says(b"late", *call(1, at=999.5))
    slow.says(b"late", *call(2, at=1000.0))  # behind it
    slow.says(b"other", *call(3, at=1000.0))
    slow.threads.run()
    assert [answer.id for answer in slow.loop.sent] == [3]
    slow.loop.advance(HOLD_S)
    slow.threads.run()
    assert [answer.id for answer in slow.loop.sent] == [3, 1, 2]
    slow.says(b"late", *call(4, at=slow.loop.now))
    slow.threads.run()
    assert slow.loop.sent[-1].id == 4


def test_what_is_refused_otherwise_is(worker):
    assert worker.gets(b"route", Call(1, AGENT, 1, "method", "work")).code == "AgentNotFound"
    assert worker.front.charged == [b"route"]


# -- what is open ----------------------------------------------------------------------------------
class Slow:
    def work(self):
        return "done"

    def watched(self):
        yield 1


@pytest.fixture
def slow(worker):
    hosted = Hosted(AGENT, 1, "m:C", worker.threads, TurnOptions(), NOWHERE)
    hosted.adopt(Slow())
    worker.agents.come(hosted)
    return worker


def call(number, name="work", op="method", **more):
    return Call(number, AGENT, 1, op, name, "data", **more), [b"\x92\x90\x80"]


def test_calls_over_a_limit_are_refused_and_told_by_its_name(slow):
    for number in range(3):
        slow.says(b"route", *call(number))
    refused = slow.gets(b"another", *call(7))  # another connection of that program
    assert (refused.id, refused.code, refused.facts["setting"]) == (7, "Overloaded", "client_calls")
    assert slow.host.questions.counted() == Counted(refused_client_calls=1)
    assert slow.front.charged == [b"another"]
    slow.threads.run()
    assert slow.open == 0
    slow.says(b"another", *call(7))
    assert slow.open == 1


def test_an_agent_has_limits_whoever_calls_it(slow):
    for number in range(3):
        slow.says(bytes([number]), *call(1))
    assert slow.gets(b"one more", *call(1)).facts["setting"] == "agent_calls"


def test_who_asks_is_not_left_alone_with_a_defect_of_ours(slow, monkeypatch):
    monkeypatch.setattr(slow.host._desk, "accept", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # the loop tells it in the log
        slow.says(b"route", *call(7))
    [told] = slow.loop.sent
    assert (told.id, told.code) == (7, "AgentdError")
    assert "failed at 'call' (ZeroDivisionError)" in told.message
    assert slow.open == 0


def test_one_that_is_too_long_is_refused(slow):
    message, _payload = call(1)
    refused = slow.gets(b"route", message, [bytes(600)])
    assert (refused.code, refused.facts["limit"]) == ("PayloadTooLarge", 500)
    assert slow.host.questions.counted() == Counted(too_large=1)


def test_what_is_refused_for_another_reason_is_not_open(slow):
    assert slow.gets(b"route", Call(1, b"b" * 16, 1, "method", "work")).code == "AgentNotFound"
    assert slow.open == 0


def test_a_number_that_is_open_is_not_opened_again(slow):
    slow.says(b"route", *call(1))
    refused = slow.gets(b"route", *call(1))
    assert (refused.id, refused.code) == (0, "ProtocolError")
    slow.threads.run()
    assert [answer.kind for answer in slow.loop.sent] == ["result"]


@pytest.mark.parametrize("port", ["front", "back"])
def test_a_one_way_call_is_open_until_it_has_run(slow, port):
    came_by = getattr(slow, port)
    accepted = slow.gets(b"route", *call(1, oneway=True, key=b"k" * 24), came_by)
    assert (accepted.kind, slow.open) == ("accepted", 1)
    slow.threads.run()
    assert slow.open == 0
    # Asked again, as the answer was lost: it is told again, and nothing is left open.
    again = slow.gets(b"another", *call(9, oneway=True, key=b"k" * 24, again=True), came_by)
    assert (again.kind, again.id, slow.open) == ("accepted", 9, 0)


def test_what_the_daemon_relays_it_counts_itself(slow):
    for number in range(5):
        slow.says(b"route", *call(number), slow.back)
    assert slow.open == 0


def test_readers_that_are_gone_count_no_more_and_calls_do(slow):
    slow.says(b"route", *call(1))
    slow.says(b"route", *call(2, "watched", "stream", credit=1))
    assert slow.open == 2
    slow.front.on_lost(SimpleNamespace(route=b"route"))
    assert slow.open == 1
