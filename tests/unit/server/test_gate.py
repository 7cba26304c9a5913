"""The gate by itself: what it makes of messages."""

import time

import pytest

from agentd.errors import CodecNotAllowed, ConfigError, NotAllowed, ProtocolError
from agentd.protocol.access import Grant, Role, admin_grant, scoped_key
from agentd.protocol.messages import (
    Ask,
    Attach,
    Call,
    Cancel,
    Create,
    Fetch,
    Hello,
    Locate,
    Offer,
    Release,
    Start,
)
from agentd.server.directory import Agent, Directory
from agentd.server.gate import Gate
from agentd.server.specs import Specs, installed

AGENT, OTHER, KEY = b"a" * 16, b"b" * 16, b"k" * 24
ME, OWN = "key:me", "uid:1000"


@pytest.fixture
def gate():
    return make_gate()


def make_gate(*, safe=False):
    directory = Directory(10)
    for agent, name, maker in ((AGENT, "calc", "uid:0"), (OTHER, "vault", "uid:0")):
        spec = Create(1, agent, "m:C", "spec", "data", name)
        directory.add(Agent(spec.agent, spec, [], b"s" * 16, time.time(), maker=maker))
    grants = {
        f"key:{role.value}": Grant(f"key:{role.value}", "x", frozenset({role}), ("calc",), ("add",))
        for role in Role
    }
    grants[ME] = Grant(ME, "me", frozenset({Role.CALLER, Role.SUBMITTER}), ("calc",), ("add",))
    grants[OWN] = admin_grant(OWN)
    specs = Specs(
        {"calc": "pkg.calc:Calc"}, lambda: [("calc", "pkg.old:Calc"), ("more", "pkg.more:More")]
    )
    return Gate(
        directory,
        specs,
        "ipc:///own.sock",
        grants.get,
        safe=safe,
    )


def check(gate, message, who=ME):
    return gate.check(who, message)


def call(**fields):
    found = {"op": "method", "name": "add", "codec": "data", "key": KEY, **fields}
    return Call(1, AGENT, 1, **found)


def test_the_verdict_is_the_daemons_whatever_the_client_wrote(gate):
    for wrote in ("", "*", "key:admin"):
        assert check(gate, call(by=wrote)).by == ME
        assert check(gate, call(by=wrote), "key:deployer").by == "*"
        assert check(gate, call(by=wrote), OWN).by == "*"
        created = Create(1, b"n" * 16, "calc", "registered", "data", by=wrote)
        assert check(gate, created).by == ME
        assert check(gate, created, "key:admin").by == "*"
    assert check(gate, call()).plain
    assert not check(gate, call(), "key:admin").plain
    assert check(gate, call(plain=True), "key:admin").plain


def test_without_a_verdict_there_is_none():
    """A message of a client that says nothing, or of a daemon that knows nothing of this."""
    assert Call(1, AGENT, 1, "method").by == Start(AGENT, 1, "m:C", "spec", "data").by == ""


def test_keys_of_a_restricted_peer_are_its_own(gate):
    mine = scoped_key(ME, KEY)
    assert check(gate, call()).key == mine
    assert check(gate, Fetch(1, AGENT, 1, KEY)).key == mine
    assert check(gate, Attach(1, AGENT, 1, KEY, 0, 1)).key == mine
    assert check(gate, Cancel(AGENT, KEY)).key == mine
    assert check(gate, Release(AGENT, [KEY, KEY])).keys == [mine, mine]
    assert check(gate, call(chain=[[OTHER, KEY]])).chain == [[OTHER, mine]]
    needed = [["result", KEY, AGENT, "tcp://evil:1", 1]]
    assert check(gate, call(needs=needed)).needs == [
        ["result", KEY, AGENT, "ipc:///own.sock", 1, mine]
    ]
    for who in ("key:deployer", "key:admin", OWN):
        assert check(gate, Fetch(1, AGENT, 1, KEY), who).key == KEY
        assert check(gate, call(needs=needed), who).needs == needed
    assert check(gate, call(key=b"")).key == b"", "a call without one has no name at all"


@pytest.mark.parametrize(
    "message",
    [
        call(chain=[["x", KEY]]),
        call(chain=[[AGENT]]),
        call(chain=["text"]),
        call(needs=[["result", KEY, AGENT, "e", 1, KEY]]),
        call(needs=[["file", KEY, AGENT, "e", 1]]),
        call(needs=[7]),
        Release(AGENT, ["text"]),
        Release(AGENT, [None]),
    ],
    ids=repr,
)
def test_what_is_malformed(gate, message):
    with pytest.raises(ProtocolError):
        check(gate, message)


def test_results_of_agents_that_are_not_listed_cannot_be_needed(gate):
    with pytest.raises(NotAllowed):
        check(gate, call(needs=[["result", KEY, OTHER, "e", 1]]))


def test_codecs(gate):
    for codec in ("pickle", "dill:3.11", "iter", "DATA", "data "):
        with pytest.raises(CodecNotAllowed, match="deployer, which equals a shell"):
            check(gate, call(codec=codec))
        assert check(gate, call(codec=codec), "key:deployer").codec == codec


def test_safe_mode_is_for_everybody():
    gate = make_gate(safe=True)
    for who in (OWN, "key:admin", "key:deployer"):
        assert not gate.takes_code(who)
        made = Create(1, b"n" * 16, "calc", "registered", "data")
        for message in (
            call(codec="pickle"),
            Offer(1, KEY),
            made.changed(codec="pickle"),
            made.changed(mode="spec"),
            made.changed(mode="live"),
            made.changed(mode="strange"),
            made.changed(code=b"c" * 32),
        ):
            with pytest.raises(CodecNotAllowed, match="safe mode"):
                check(gate, message, who)
        assert check(gate, made, who).plain
        assert check(gate, call(op="set"), who).by == "*", "its role is what it was"


def test_who_has_no_grant(gate):
    hello = Hello(1, 1, "a", "3.11", b"s" * 16, 1, "h", "s")
    for message in (hello, Locate(1, AGENT), Ask(1, "info"), Cancel(AGENT, KEY)):
        with pytest.raises(NotAllowed, match="keys add"):
            check(gate, message, "key:stranger")
    assert not gate.takes_code("key:stranger")
    assert not any(map(gate.sees("key:stranger"), gate._directory))


def test_refusals_say_what_is_missing(gate):
    with pytest.raises(NotAllowed) as caught:
        check(gate, call(name="sub"))
    error = caught.value
    assert (error.who, error.action, error.role) == (ME, "call method", "caller or submitter")
    assert "may not call 'sub'" in str(error)


def test_registered_agents(gate):
    made = Create(1, b"n" * 16, "calc", "registered", "data")
    assert check(gate, made).cls == "pkg.calc:Calc", "settings win over packages"
    assert check(gate, made.changed(cls="pkg.more:More")).cls == "pkg.more:More"
    for wrong in ("pkg.old:Calc", "os:system", "", "calc "):
        with pytest.raises(ConfigError, match="not registered"):
            check(gate, made.changed(cls=wrong))
    assert all(":" in value for _name, value in installed())


def test_kinds_that_there_are_not(gate):
    with pytest.raises(NotAllowed):
        check(gate, call(op="__init__"))
    with pytest.raises(NotAllowed):
        check(gate, Ask(1, "everything"))
    assert check(gate, Ask(1, "everything"), OWN), "told by whoever would answer"
