"""What of a client's messages counts as work that helps nobody."""

import os

import pytest

from agentd.protocol import PROTOCOL, pack, unpack
from agentd.protocol.access import admin_grant
from agentd.protocol.messages import Ask, Call, Hello, Ping
from agentd.server.audit import silent
from agentd.server.gate import Gate
from agentd.server.router import Router
from agentd.server.sessions import Sessions
from agentd.server.specs import Specs
from agentd.server.trail import Trail
from agentd.transport.connections import Connections
from agentd.transport.origin import Origin

ME = f"uid:{os.geteuid()}"


class Front:
    kind = "ipc"

    def __init__(self):
        self.charged = []
        self.excused = []

    def charge(self, route, _size, *, excused=False):
        (self.excused if excused else self.charged).append(route)


class Door:
    """A daemon's one front socket."""

    def __init__(self, world):
        self.loop, self.front = world.loop, Front()
        self.loop.serve = lambda _port, deliver: setattr(self, "deliver", deliver)
        grant_of = {ME: admin_grant(ME)}.get
        self.beat_s = world.config.heartbeat_s
        self.router = Router(
            world.config,
            self.loop,
            "node",
            "ipc:///x",
            [self.front],
            world.hosting,
            world.supervisor,
            Sessions(10, "here", self.loop.clock),
            Connections(10_000, self.loop.clock),
            lambda _what, _params, answer, _sees: answer(b""),
            grant_of,
            Gate(world.directory, Specs({}), "ipc:///x", grant_of),
            Trail(silent, grant_of, self.loop.clock),
            None,
        )

    def gets(self, number, message):
        """The answer to who comes by that connection."""
        self.deliver([Origin(number.to_bytes(5, "big"), ME, -1), *pack(message)])
        return unpack(self.loop.sent.pop()[1][1:])

    def session(self, number):
        return self.router._sessions.touch((0, number.to_bytes(5, "big")), ME)

    def meet(self, number):
        hello = Hello(1, PROTOCOL, "0", "3", number.to_bytes(16, "big"), 1, "here", "0")
        assert self.gets(number, hello).kind == "welcome"
        self.front.charged.clear()


@pytest.fixture
def door(world):
    return Door(world())


def test_pings_that_are_due_are_not_charged_however_many_connections_there_are(door):
    for number in range(500):
        door.meet(number)
    for _ in range(3):
        for number in range(500):
            assert door.gets(number, Ping(7)).kind == "pong"
        door.loop.now += door.beat_s / 2
    assert not door.front.charged


def test_those_beyond_are_and_questions_are_each_time(door):
    door.meet(1)
    for number in range(100):
        assert door.gets(1, Ping(number)).id == number
    assert len(door.front.charged) == 99
    assert door.gets(1, Ask(1, "info")).kind == "answer"
    assert len(door.front.charged) == 100


@pytest.mark.parametrize("what", ["delete", "kill"])
def test_what_ends_agents_is_work_like_what_makes_them(door, what):
    door.meet(1)
    for number in range(1, 301):
        agent = number.to_bytes(16, "big").hex()
        assert door.gets(1, Ask(number, what, {"agent": agent})).kind == "answer"
    assert not door.front.charged


def test_what_comes_too_late_is_refused_and_not_charged(door):
    door.meet(1)
    door.loop.now += 1000
    door.session(1)
    assert door.gets(1, Ask(1, "info", at=1.0)).code == "TooLate"
    assert len(door.front.charged) == 1, "as a question"


def test_who_meets_a_limit_is_excused(world):
    """An honest program does so with all its calls at once."""
    door = Door(world(client_calls=1))
    door.meet(1)
    agent = os.urandom(16)
    assert door.gets(1, Call(1, agent, 1, "method", "add", "data")).code == "AgentNotFound"
    assert (len(door.front.charged), len(door.front.excused)) == (1, 0)
    door.router.budgets.take("another", door.router._client_of(door.session(1)), None, 1)
    assert door.gets(1, Call(2, agent, 1, "method", "add", "data")).code == "Overloaded"
    assert (len(door.front.charged), len(door.front.excused)) == (1, 1)
