"""Every role at a door of its own: what it may do, and that nothing it sends is ever unpickled.

A canary is a pickle that makes a file when it is read. It goes into every frame and field.
"""

import contextlib
import datetime
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import pytest

import agentd
from agentd.errors import (
    AgentCrashed,
    AgentNotFound,
    AuthenticationFailed,
    CodecNotAllowed,
    NotAllowed,
    RemoteError,
    ResultExpired,
    SerializationError,
)
from tests.integration.conftest import _RUN, LONG_S, end, environment, wait_until
from tests.integration.gatekeeping import ROLES, Clerk, NotForYou, Order, Shy, endpoint
from tests.integration.test_protocol import RawClient
from tests.unit.protocol.test_access import documented

FREE = ("deployer", "admin")
RESTRICTED = tuple(role for role in ROLES if role not in FREE)
DENIED = ("NotAllowed", "CodecNotAllowed")
CALLING = ("call method", "call stream", "call next", "call close")
SILENT = ("cancel", "keep", "release", "credit", "detach", "pong")


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


class Hand(RawClient):
    """A client by hand that waits for the answer it wants, whatever else is on its way."""

    def ask(self, kind, payload=(), **keys):
        number = self.send(kind, payload, **keys)
        while True:
            header, payload = self.receive()
            if header.get("id") == number:
                return header, payload


class Doors:
    """The daemon, and connections by each of its doors."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="g", dir=_RUN)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.gatekeeping", self.folder],
            env=environment(),
        )
        wait_until(self._open, "the doors to open")
        self.raw = {}
        own = self.client("own")
        make = "tests.integration.gatekeeping:Clerk"
        forever = {"lifetime": "daemon"}
        self.agents = {
            "listed": own.create(make, "listed", options={"name": "listed-1", **forever}),
            "unlisted": own.create(make, "vault", options={"name": "vault", **forever}),
        }
        for agent in self.agents.values():
            assert len(agent) == 7

    def _open(self):
        assert self.process.poll() is None, "the daemon ended"
        return Path(self.folder, "chief.sock").exists() and self.client("own").ping()

    def client(self, door):
        """As somebody on another host: all by the daemon."""
        return agentd.connect(endpoint(self.folder, door), direct=False)

    def id(self, which):
        """Of an agent, 16 bytes."""
        if which == "unknown":
            return b"\x5a" * 16
        return bytes.fromhex(agentd.handle(self.agents[which]).id)

    def connection(self, door):
        if door not in self.raw:
            self.raw[door] = Hand(endpoint(self.folder, door))
            self.raw[door].meet()
        return self.raw[door]

    def close(self):
        for client in self.raw.values():
            client.close()
        end(self.process)


@pytest.fixture(scope="module")
def doors():
    found = Doors()
    yield found
    found.close()


@pytest.fixture(scope="module")
def nest(tmp_path_factory):
    """Where canaries make their files."""
    return tmp_path_factory.mktemp("nest")


def plain(*args):
    return [msgpack.packb([list(args), {}])]


def canary_frames(file):
    """A pickle as the head, as a buffer, and within plain data."""
    bird = pickle.dumps(((Canary(file),), {}))
    within = msgpack.packb([[bird, msgpack.ExtType(15, msgpack.packb(0))], {}])
    return [bird, bird], [within, bird]


def message_for(action, agent, file):
    """The kind, fields and payload that try ``action``, with canaries wherever bytes may be."""
    kind, _, what = action.partition(" ")
    bird = pickle.dumps(Canary(file))
    as_pickle, as_data = canary_frames(file)
    key = os.urandom(24)
    named = {"agent": agent}
    if action in ("offer", "supply"):
        extra = {"file": bird[:32]} if kind == "supply" else {}
        return kind, {"code": os.urandom(32), **extra}, [bird]
    if kind == "create":
        made = {"agent": os.urandom(16), "cls": "clerk", "mode": what, "codec": "pickle"}
        return kind, {**made, "by": "*", "code": b"", "ack": True}, as_pickle
    if kind == "ask":
        return kind, {"what": what, "params": {"agent": agent.hex()}}, [bird]
    if kind == "call":
        name = {"next": "1", "close": "1", "dir": "", "copy": ""}.get(what, "echo")
        call = {"epoch": 1, "op": what, "name": name, "key": key, "codec": "data", "by": "*"}
        return kind, {**named, **call, "trace": bird, "credit": 1000}, as_data
    if kind in ("cancel", "fetch", "attach", "keep", "release", "read"):
        extra = {
            "cancel": {"key": bird},
            "release": {"keys": [bird, key]},
            "keep": {"keys": [bird, key]},
            "fetch": {"epoch": 1, "key": bird},
            "attach": {"epoch": 1, "key": bird, "offset": 0, "credit": 1},
            "read": {"epoch": 1, "token": bird, "offset": 0, "size": 1},
        }[kind]
        return kind, {**named, **extra}, [bird]
    return {
        "ping": (kind, {}, [bird]),
        "pong": (kind, {"now": 1.0}, [bird]),
        "vouch": (kind, {"worker": "w1"}, [bird]),
        "locate": (kind, named, [bird]),
        "fate": (kind, {**named, "epoch": 77}, [bird]),
        "credit": (kind, {**named, "more": 1}, [bird]),
        "detach": (kind, named, [bird]),
    }[kind]


def answers_until_pong(client, number):
    """What comes before the answer to a ping that is sent now: refusals are told at once."""
    pong = client.send("ping")
    found = []
    while True:
        header, _ = client.receive()
        if header.get("id") == pong:
            return found
        if header.get("id") in (number, 0):
            found.append(header)


def meant(extent, agent):
    """Whether the words of the documentation allow it, for methods that are listed."""
    words = extent.name.split("|") if extent.name else []
    return "ANY" in words or (agent == "listed" and bool({"LISTED", "CALLED"} & set(words)))


ACTIONS = [a for a in documented() if a not in ("hello", "bye", "ask stop")]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_cell(doors, nest, role, action):
    client = doors.connection(role)
    for agent in ("listed", "unlisted", "unknown"):
        if agent != "unknown" and action in ("ask delete", "ask kill", "call set", "call del"):
            continue  # with agents of their own, below
        file = nest / f"{role} {action} {agent}".replace(" ", "-")
        kind, fields, payload = message_for(action, doors.id(agent), file)
        if kind == "create":
            fields["codec"] = "data" if action == "create registered" else "pickle"
            payload = plain("made") if action == "create registered" else payload
        number = client.send(kind, payload, **fields)
        found = answers_until_pong(client, number)
        refused = [h for h in found if h["kind"] == "error" and h["code"] in DENIED]
        allowed = meant(documented()[action][role_of(role)], agent)
        if kind in SILENT:
            assert found == [], "it has no answer, allowed or not"
        else:
            assert bool(refused) != allowed, (agent, found)
        for header in refused:
            assert header["facts"]["who"] == f"key:{role}" or header["code"] == "CodecNotAllowed"


def role_of(role):
    return next(r for r in documented()["ping"] if r.value == role)


@pytest.mark.parametrize("role", ROLES)
def test_pickles_in_place_of_arguments(doors, nest, role):
    """The codec that a message names is its sender's word; and so is its ``by``."""
    client = doors.connection(role)
    for op, by, codec in itertools.product(
        ("method", "stream"), ("", "*", f"key:{role}"), ("pickle", "dill:3.11", "nonsense", "iter")
    ):
        file = nest / f"{role}-{op}-{codec}-{len(by)}".replace(":", "")
        fields = {"agent": doors.id("listed"), "epoch": 1, "op": op, "name": "echo"}
        payload, _ = canary_frames(file)
        header, _ = client.ask("call", payload, codec=codec, by=by, credit=1000, **fields)
        if role in RESTRICTED:
            assert header["code"] in DENIED
        elif codec == "pickle":
            wait_until(file.exists, "the canary to prove that it works")


@pytest.mark.parametrize("role", ROLES)
def test_deleting_and_killing(doors, role):
    for what, which in itertools.product(("delete", "kill"), ("listed", "unlisted", "own")):
        name = {"listed": f"listed-{role}-{what}", "unlisted": f"other-{role}-{what}", "own": None}
        maker = role if which == "own" else "own"
        if which == "own" and role in ("observer", "caller", "operator"):
            continue
        options = {"name": name[which], "lifetime": "daemon"}
        agent = doors.client(maker).create("clerk", options=options)
        handle = agentd.handle(agent).wait(LONG_S)
        extent = documented()[f"ask {what}"][role_of(role)].name or ""
        allowed = "ANY" in extent or which.upper() in extent.split("|")
        client = doors.connection(role)
        header, _ = client.ask("ask", what=what, params={"agent": handle.id})
        assert (header["kind"] == "answer") == allowed, (what, which, header)
        gone = handle.id not in {a["id"] for a in doors.client("own").agents()}
        assert gone == allowed


def test_no_canary_of_a_restricted_role_ever_sang(doors, nest):
    for role in ROLES:  # whatever is still on its way comes first
        client = doors.connection(role)
        fields = {"agent": doors.id("listed"), "epoch": 1, "op": "method", "name": "echo"}
        client.ask("call", plain(1), codec="data", **fields)
    sang = {file.name.split("-")[0] for file in nest.iterdir()}
    # Of the tests that ran in this process; that canaries do sing, ``test_pickles_…`` has shown.
    assert sang <= set(FREE)


# -- refusals tell nothing -------------------------------------------------------------------------
@pytest.mark.parametrize("role", RESTRICTED)
@pytest.mark.parametrize("action", [a for a in ACTIONS if a not in ("ping", *SILENT)])
def test_a_refusal_is_the_same_whether_the_agent_exists(doors, role, action):
    client = doors.connection(role)
    told = []
    for agent in (doors.id("unlisted"), doors.id("unknown")):
        kind, fields, payload = message_for(action, agent, "/nonexistent/canary")
        number = client.send(kind, payload, **fields)
        found = answers_until_pong(client, number)
        errors = [h for h in found if h["kind"] == "error"]
        text = repr([(h["code"], h["message"], h.get("facts")) for h in errors])
        told.append(text.replace(agent.hex(), "AGENT"))
    if kind != "create":
        assert told[0] == told[1]
    assert "vault" not in told[0]
    assert "Clerk" not in told[0]
    assert doors.folder not in told[0]


def test_names_and_starts_of_ids_tell_nothing_either(doors):
    client = doors.connection("caller")
    told = {}
    for text in ("vault", "no-such", doors.id("unlisted").hex(), doors.id("unlisted").hex()[:6]):
        header, _ = client.ask("locate", name=text)
        assert header["code"] == "NotAllowed", text
        told[text] = header["message"].replace(text, "NAME")
    assert len(set(told.values())) == 1
    header, _ = client.ask("locate", name="listed-9")  # a name that it may know
    assert header["code"] == "AgentNotFound"
    header, _ = client.ask("locate", name="listed-1")
    assert header["kind"] == "ready"


def test_who_has_no_grant_gets_no_further_than_the_door(doors):
    stranger = Hand(endpoint(doors.folder, "nobody"))
    try:
        stranger.send("hello", **stranger.hello)
        header, _ = stranger.receive()
        assert (header["kind"], header["code"]) == ("error", "AuthenticationFailed")
    finally:
        stranger.close()
    with pytest.raises(AuthenticationFailed, match="keys add"):
        doors.client("nobody")


def test_lists_show_what_is_listed(doors):
    assert {a["name"] for a in doors.client("observer").agents() if a["name"]} >= {"listed-1"}
    assert "vault" not in {a["name"] for a in doors.client("observer").agents()}
    assert "vault" not in {a["name"] for a in doors.client("operator").agents()}
    assert "vault" in {a["name"] for a in doors.client("chief").agents()}
    assert "vault" in {a["name"] for a in doors.client("deployer").agents()}


# -- what callers have -----------------------------------------------------------------------------
@pytest.fixture
def caller(doors):
    return doors.client("caller").get("listed-1")


def test_a_caller_calls_with_plain_data_of_all_kinds(caller):
    import numpy

    for value in (
        {"a": [1, 2.5, None, True]},
        (1, (2, 3)),
        {1, 2},
        b"\x00" * 200_000,
        datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC),
        numpy.arange(12.0).reshape(3, 4),
        numpy.arange(100_000),
    ):
        found = caller.echo(value)
        assert type(found) is type(value)
        assert numpy.array_equal(found, value) if type(value) is numpy.ndarray else found == value


def test_what_is_no_plain_data_is_not_even_sent(caller):
    with pytest.raises(SerializationError, match=r"args\[0\].*only plain data.*deployer"):
        caller.echo(lambda: 1)


def test_a_caller_gets_futures_and_streams(caller):
    assert caller.echo.submit((1, 2)).result(LONG_S) == (1, 2)
    assert list(caller.items(5)) == [0, 1, 2, 3, 4]
    stream = caller.items(100)
    assert next(stream) == 0
    stream.close()
    first = caller.echo.submit([1])
    assert caller.echo(first) == [1], "a result of its own, handed on"
    caller.echo.oneway("unseen")
    assert caller.echo.options(key="once").submit(5).result(LONG_S) == 5


def test_results_that_are_no_plain_data_are_refused_by_name(caller):
    with pytest.raises(SerializationError, match=r"result of thing of .*Clerk.*plain data"):
        caller.thing()
    stream = iter(caller.things())
    assert next(stream) == 1
    with pytest.raises(SerializationError, match=r"things of .*Clerk"):
        next(stream)


@pytest.mark.parametrize("name", ["reveal", "fails", "loads", "__len__", "rest"])
def test_methods_that_are_not_listed(doors, name):
    with pytest.raises(NotAllowed, match=r"key:caller \(caller\) may not call"):
        raw_call(doors, "caller", name)


@pytest.mark.parametrize(
    "name",
    ["secret", "hook", "calls", "__class__", "__init__", "__dict__", "__reduce__", "echo.__func__"],
)
@pytest.mark.parametrize("door", ["submitter", "own"])
def test_what_is_no_method(doors, door, name):
    """A submitter may call everything of what it made: of methods there is a table."""
    agent = doors.client(door).create("clerk", secret="x")
    agentd.handle(agent).wait(LONG_S)
    if (door, name) == ("own", "hook"):
        assert agent.hook() == "x"  # as on any object
        return
    with pytest.raises((RemoteError, AttributeError, TypeError)):
        raw_call(doors, door, name, agent=bytes.fromhex(agentd.handle(agent).id))


def test_attributes_are_not_for_callers(doors, caller):
    for use in (
        lambda: caller.secret,
        lambda: setattr(caller, "secret", "x"),
        lambda: dir(caller),
        lambda: agentd.handle(caller).look("secret"),
        lambda: next(iter(agentd.handle(caller).watch("secret"))),
        lambda: agentd.handle(caller).fetch(),
    ):
        with pytest.raises(NotAllowed, match="deployer"):
            use()
    assert doors.agents["listed"].secret == "hidden"


def raw_call(doors, door, name, *args, agent=None, client=None, **fields):
    """A call by hand; raises the error as the client would."""
    client = client or doors.connection(door)
    where = {"agent": agent or doors.id("listed"), "epoch": 1, "op": "method", "name": name}
    header, payload = client.ask("call", plain(*args), codec="data", **where, **fields)
    if header["kind"] == "error":
        if header["code"] == "raised":
            raise AttributeError(header["message"])
        raise agentd.errors.from_wire(header["code"], header["message"], header.get("facts", {}))
    return header, payload


def test_exposed_methods_only_for_everybody(doors):
    for door in ("own", "deployer"):
        agent = doors.client(door).create("tests.integration.gatekeeping:Shy")
        assert agent.said() == "said"
        where = bytes.fromhex(agentd.handle(agent).id)
        for name in ("kept", "__len__", "value"):
            with pytest.raises(AttributeError, match=name):
                raw_call(doors, door, name, agent=where)
        with pytest.raises((TypeError, AttributeError)):
            len(agent)
    assert Shy().kept() == "kept"


# -- dataclasses and exceptions --------------------------------------------------------------------
def test_dataclasses_are_checked_by_themselves(doors):
    agent = doors.client("submitter").create("clerk")
    assert agent.kind(Order("tea", 2)) == "tests.integration.gatekeeping.Order"
    assert agent.order("tea", 3) == Order("tea", 3)
    wrong = Order("tea", 1)
    wrong.count = 0
    with pytest.raises(agentd.errors.DecodeError, match="at least one"):
        agent.kind(wrong)


def test_dataclasses_that_are_not_the_agents_own(doors):
    agent = doors.client("submitter").create("clerk")
    agentd.handle(agent).wait(LONG_S)
    where = bytes.fromhex(agentd.handle(agent).id)
    for module, name in (
        ("agentd.config", "ServerConfig"),
        ("agentd.transport.loop", "Timer"),
        ("tests.integration.gatekeeping", "Clerk"),
        ("tests.integration.not_loaded_yet", "Anything"),
        ("os", "system"),
    ):
        form = msgpack.ExtType(17, msgpack.packb([module, name, {}]))
        with pytest.raises(agentd.errors.DecodeError, match="dataclass"):
            raw_call(doors, "submitter", "kind", form, agent=where)


def test_exceptions_travel_as_data(doors):
    agent = doors.client("submitter").create("clerk")
    with pytest.raises(NotForYou, match="me at 2026-01-01") as caught:
        agent.fails("me")
    assert (caught.value.who, caught.value.when) == ("me", datetime.date(2026, 1, 1))
    assert type(caught.value.__cause__) is KeyError
    assert "in fails" in caught.value.__notes__[0]


def test_a_creation_that_fails_is_told_as_data(doors):
    agent = doors.client("submitter").create("clerk", 1, 2, 3, 4)
    with pytest.raises(agentd.errors.AgentCreationError) as caught:
        agent.echo(1)
    assert type(caught.value.__cause__) is TypeError


# -- what belongs to somebody else -----------------------------------------------------------------
def test_results_of_others_cannot_be_fetched(doors):
    """All at once: a worker waits a moment for a call that is slower than its reference."""
    where = {"agent": doors.id("listed"), "epoch": 1}
    keys = {door: os.urandom(24) for door in ("caller", "own")}
    for door, key in keys.items():
        raw_call(doors, door, "echo", "private", key=key, hold=True)
        for other in ("second", "submitter"):
            doors.connection(other).send("release", agent=where["agent"], keys=[key])
    second, submitter = doors.connection("second"), doors.connection("submitter")
    needed = ["result", keys["caller"], doors.id("listed"), "ipc:///nowhere", 1]
    form = msgpack.ExtType(14, msgpack.packb(needed))
    call = {**where, "op": "method", "name": "echo", "codec": "data", "needs": [needed]}
    asked = [
        (second, second.send("fetch", key=keys["caller"], **where)),
        (second, second.send("call", plain(form), **call)),
        (second, second.send("fetch", key=keys["own"], **where)),
        (second, second.send("attach", key=keys["own"], offset=0, credit=1, **where)),
        (submitter, submitter.send("fetch", key=keys["own"], **where)),
    ]
    waiting = {(client, number) for client, number in asked}
    while waiting:
        client = next(iter(waiting))[0]
        header, _ = client.receive()
        if (client, header["id"]) in waiting:
            assert header["code"] == ResultExpired.code
            waiting.remove((client, header["id"]))
    # Nor may it be referred to without being listed as needed.
    with pytest.raises(agentd.errors.DecodeError, match="not made known"):
        raw_call(doors, "second", "echo", form)
    # It is still there for those whose it is.
    for door, reader in (("caller", "caller"), ("own", "own"), ("own", "deployer")):
        _, payload = doors.connection(reader).ask("fetch", key=keys[door], **where)
        assert msgpack.unpackb(payload[0]) == "private"
    own = raw_call(doors, "caller", "echo", form, needs=[needed])
    assert msgpack.unpackb(own[1][0]) == "private"


def test_what_has_no_key_cannot_be_had_by_naming_none(doors):
    """It would be anybody's."""
    own, second = doors.connection("own"), doors.connection("second")
    where = {"agent": doors.id("listed"), "epoch": 1}
    call = {**where, "codec": "data"}
    held, _ = own.ask("call", plain("private"), op="method", name="echo", hold=True, **call)
    assert held["code"] == "ProtocolError"
    stream = {**call, "op": "stream", "name": "items"}
    item, payload = own.ask("call", plain(100), credit=1, **stream)
    assert (item["kind"], msgpack.unpackb(payload[0])) == ("chunk", 0)
    refused, _ = second.ask("attach", key=b"", offset=0, credit=1, **where)
    assert refused["code"] == ResultExpired.code
    own.send("credit", id=item["id"], agent=doors.id("listed"), more=1000)
    while item["kind"] != "end":
        item, _ = own.receive()
    assert item["offset"] == 100  # it is kept for a while, for its readers
    anew, payload = second.ask("call", plain(1), credit=9, again=True, **stream)
    assert (anew["kind"], anew["offset"], msgpack.unpackb(payload[0])) == ("chunk", 0, 0)
    end, _ = second.receive()
    assert (end["kind"], end["id"], end["offset"]) == ("end", anew["id"], 1)


def test_calls_of_others_cannot_be_cancelled(doors):
    client = doors.connection("own")
    key = os.urandom(24)
    where = {"agent": doors.id("listed"), "epoch": 1, "op": "method", "name": "rest"}
    number = client.send("call", plain(0.3), codec="data", key=key, **where)
    second = doors.connection("second")
    second.send("cancel", agent=doors.id("listed"), key=key)
    second.send("release", agent=doors.id("listed"), keys=[key])
    header, payload = client.receive()
    assert (header["kind"], header["id"]) == ("result", number)
    assert msgpack.unpackb(payload[0]) == "rested"


def test_iterators_of_others_cannot_be_read(doors):
    agent = doors.client("submitter").create("clerk")
    assert list(agent.numbers(3)) == [0, 1, 2]
    where = bytes.fromhex(agentd.handle(agent).id)
    _, payload = raw_call(doors, "own", "numbers", 3, agent=where)
    number = str(msgpack.unpackb(payload[0]))
    client = doors.connection("submitter")
    for op in ("close", "next"):
        asked = {"agent": where, "epoch": 1, "op": op, "name": number}
        header, payload = client.ask("call", codec="", **asked)
        assert header["kind"] == ("result" if op == "close" else "error")
    header, payload = doors.connection("own").ask("call", codec="", **asked)
    assert msgpack.unpackb(payload[0])[0] == [0, 1, 2]


def test_references_of_a_caller_lead_nowhere_else(doors, short):
    """It names the address itself: an agent must not connect to it."""
    from agentd.transport.sockets import new_context, router

    context = new_context()
    trap = router(context)
    trap.bind(f"ipc://{short}/trap.sock")
    agent = doors.client("submitter").create("clerk")
    agentd.handle(agent).wait(LONG_S)
    where = bytes.fromhex(agentd.handle(agent).id)
    reference = [doors.id("listed"), f"ipc://{short}/trap.sock", "m:C", None, None, None, None]
    form = msgpack.ExtType(14, msgpack.packb(reference))
    try:
        _, payload = raw_call(doors, "submitter", "echo", form, agent=where)
        back = msgpack.unpackb(payload[0])
        assert f"ipc://{doors.folder}/own.sock" in back.data.decode("latin1")
        assert not trap.poll(0)
    finally:
        trap.close(0)
        context.term()


def test_a_submitter_and_the_agents_of_others(doors):
    client = doors.client("submitter")
    agent = client.create("clerk", "mine")
    assert agent.reveal() == "hidden", "whatever its methods are, of what it made"
    client.delete(agent)
    with pytest.raises(NotAllowed):
        client.delete("listed-1")
    for options in ({"name": "vault"}, {"name": "vault", "get_if_exists": True}):
        with pytest.raises(NotAllowed, match="create registered vault"):
            client.create("clerk", options=options)
    named = client.create("clerk", options={"name": "listed-by-submitter"})
    with contextlib.closing(doors.client("second")) as second:
        assert second.get("listed-by-submitter").echo(1) == 1
    client.delete(named)
    raw = doors.connection("submitter")
    made = {"cls": "clerk", "mode": "registered", "codec": "data"}
    for more in ({"parent": doors.id("unlisted")}, {"agent": doors.id("unlisted")}):
        header, _ = raw.ask("create", plain(), **{"agent": os.urandom(16), **made, **more})
        assert header["code"] == "NotAllowed", more


def test_only_what_is_registered(doors):
    client = doors.client("submitter")
    for path in ("tests.integration.gatekeeping:Shy", "os:system", "clerks"):
        with pytest.raises(agentd.errors.ConfigError, match="not registered"):
            agentd.handle(client.create(path)).wait(LONG_S)
    by_class = client.create("tests.integration.gatekeeping:Clerk")
    assert by_class.echo(1) == 1
    with pytest.raises(CodecNotAllowed, match="registered"):
        agentd.host(Clerk()).to_dist(endpoint=endpoint(doors.folder, "submitter"))


def test_the_last_words_of_a_crash_are_for_those_who_read_logs(doors):
    for door in ("submitter", "own"):
        agent = doors.client(door).create("clerk", options={"worker": "dedicated"})
        with pytest.raises(AgentCrashed) as caught:
            agent.exits()
        assert caught.value.exit_code == 3
        told = "a secret in the log"
        assert (told in str(caught.value)) == (door == "own")
        assert (told in (caught.value.stderr_tail or "")) == (door == "own")
        agentd.handle(agent).kill()


def test_a_caller_whose_agent_ended_is_told_why(doors):
    own = doors.client("own")
    agent = own.create("clerk", options={"name": "listed-ended"})
    proxy = doors.client("caller").get("listed-ended")
    assert proxy.echo(1) == 1
    own.delete(agent)
    with pytest.raises(AgentNotFound, match="it was deleted"):
        proxy.echo(1)


def test_the_audit_log_tells_who_was_let_in_to_what(doors):
    """The first call of many, and what was refused; of each client its own."""
    agent = doors.client("own").create("clerk", options={"name": "listed-audited"})
    identity = agentd.handle(agent).id
    proxy = doors.client("second").get("listed-audited")
    for number in range(5):
        assert proxy.echo(number) == number
    with pytest.raises(NotAllowed):
        proxy.reveal()
    raw = doors.connection("caller")
    raw.ask("call", [msgpack.packb([[1], {}])], agent=bytes.fromhex(identity), epoch=1,
            op="method", name="echo", codec="data", key=b"k" * 24)  # fmt: skip

    lines = Path(doors.folder, "audit.jsonl").read_text().splitlines()
    found = [record for record in map(json.loads, lines) if identity in record.get("target", "")]

    made = f"{identity} listed-audited tests.integration.gatekeeping:Clerk"
    assert [(r["who"], r["action"], r["target"], r["decision"], r["rule"]) for r in found] == [
        (f"uid:{os.geteuid()}", "create", f"{made} registered data", "allowed", "grant own"),
        ("key:second", "access", made, "allowed", "grant caller"),
        ("key:second", "call method", f"agent {identity}", "denied", "caller"),
        ("key:caller", "access", made, "allowed", "grant caller"),
    ]
    doors.client("own").delete(agent)


def test_an_operator_for_all_agents_stops_the_daemon(doors):
    with pytest.raises(NotAllowed):
        doors.client("operator").stop()
    doors.client("chief").stop()
    wait_until(lambda: doors.process.poll() is not None, "the daemon to end")
    assert doors.process.returncode == 0


def test_nobody_left_a_canary(nest):
    """Once more, after the daemon and its workers have ended."""
    assert {Path(f).name.split("-")[0] for f in nest.iterdir()} <= set(FREE)
