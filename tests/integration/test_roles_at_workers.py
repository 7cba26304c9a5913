"""The same roles at a worker's own door to the network, where the daemon does not see the message.

What ``test_roles`` shows of the daemon's doors is shown here of that one, as far as it is asked
there: by hand with the key of each role, and by clients whose calls go straight to the worker.
"""

import json
import os
from pathlib import Path

import msgpack
import pytest

import agentd
from agentd.errors import AuthenticationFailed, NotAllowed
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.gatekeeping import ROLES
from tests.integration.networked import Networked, believing
from tests.integration.test_roles import (  # noqa: F401 - tests that run here, too
    ACTIONS,
    DENIED,
    FREE,
    RESTRICTED,
    SILENT,
    Hand,
    answers_until_pong,
    caller,
    documented,
    meant,
    message_for,
    plain,
    raw_call,
    role_of,
    test_a_caller_calls_with_plain_data_of_all_kinds,
    test_a_caller_gets_futures_and_streams,
    test_attributes_are_not_for_callers,
    test_calls_of_others_cannot_be_cancelled,
    test_dataclasses_are_checked_by_themselves,
    test_dataclasses_that_are_not_the_agents_own,
    test_exceptions_travel_as_data,
    test_exposed_methods_only_for_everybody,
    test_iterators_of_others_cannot_be_read,
    test_no_canary_of_a_restricted_role_ever_sang,
    test_pickles_in_place_of_arguments,
    test_references_of_a_caller_lead_nowhere_else,
    test_results_of_others_cannot_be_fetched,
    test_results_that_are_no_plain_data_are_refused_by_name,
    test_what_has_no_key_cannot_be_had_by_naming_none,
    test_what_is_no_method,
    test_what_is_no_plain_data_is_not_even_sent,
)

OF_THE_DAEMON = ("create", "offer", "supply", "ask", "locate", "fate", "vouch")
HERE = [a for a in ACTIONS if a.partition(" ")[0] not in OF_THE_DAEMON]
ELSEWHERE = [a for a in ACTIONS if a not in HERE]


class WorkerDoors(Networked):
    """What ``test_roles.Doors`` is, at the door of the one worker."""

    def __init__(self):
        super().__init__()
        self.raw = {}
        self.agents = {}
        self._place = None

    def begin(self):
        make = "tests.integration.gatekeeping:Clerk"
        forever = {"lifetime": "daemon"}
        own = self.client("own")
        self.agents = {
            "listed": own.create(make, "listed", options={"name": "listed-1", **forever}),
            "unlisted": own.create(make, "vault", options={"name": "vault", **forever}),
        }
        self._place = self.place(self.agents["listed"])
        assert self._place.port
        assert len(self.agents["listed"]) == 7

    def id(self, which):
        if which == "unknown":
            return b"\x5a" * 16
        return bytes.fromhex(agentd.handle(self.agents[which]).id)

    def connection(self, door):
        if door not in self.raw:
            self.raw[door] = Hand("", peer=self.at_worker(self._place, door))
            self.raw[door].meet()
        return self.raw[door]

    def close(self):
        for client in self.raw.values():
            client.close()
        super().close()


@pytest.fixture(scope="module")
def doors():
    found = WorkerDoors()
    with pytest.MonkeyPatch.context() as patch:
        believing(found, patch)
        found.begin()
        yield found
        found.close()


@pytest.fixture(scope="module")
def nest(tmp_path_factory):
    """Where canaries make their files."""
    return tmp_path_factory.mktemp("nest")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", HERE)
def test_every_cell(doors, nest, role, action):
    client = doors.connection(role)
    for agent in ("listed", "unlisted", "unknown"):
        if agent != "unknown" and action in ("call set", "call del"):
            continue  # nobody but the free may, and they would spoil the agent
        file = nest / f"{role} {action} {agent}".replace(" ", "-")
        kind, fields, payload = message_for(action, doors.id(agent), file)
        number = client.send(kind, payload, **fields)
        found = answers_until_pong(client, number)
        refused = [h for h in found if h["kind"] == "error" and h["code"] in DENIED]
        allowed = meant(documented()[action][role_of(role)], agent)
        if kind in SILENT:
            assert found == [], "it has no answer, allowed or not"
        else:
            assert bool(refused) != allowed, (agent, found)
        for header in refused:
            assert header["facts"]["who"] == doors.who(role) or header["code"] == DENIED[1]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ELSEWHERE)
def test_what_is_the_daemons_is_not_even_asked_here(doors, nest, role, action):
    client = doors.connection(role)
    for agent in ("listed", "unlisted", "unknown"):
        kind, fields, payload = message_for(action, doors.id(agent), nest / f"{role}-x")
        header, _ = client.ask(kind, payload, **fields)
        assert (header["kind"], header["code"]) == ("error", "ProtocolError")
        assert "to a worker" in header["message"]


@pytest.mark.parametrize("role", RESTRICTED)
@pytest.mark.parametrize("action", [a for a in HERE if a not in ("ping", *SILENT)])
def test_a_refusal_is_the_same_whether_the_agent_exists(doors, role, action):
    client = doors.connection(role)
    told = []
    for agent in (doors.id("unlisted"), doors.id("unknown")):
        kind, fields, payload = message_for(action, agent, "/nonexistent/canary")
        number = client.send(kind, payload, **fields)
        errors = [h for h in answers_until_pong(client, number) if h["kind"] == "error"]
        text = repr([(h["code"], h["message"], h.get("facts")) for h in errors])
        told.append(text.replace(agent.hex(), "AGENT"))
    assert told[0] == told[1]
    assert "vault" not in told[0]
    assert "Clerk" not in told[0]


def test_the_clients_of_this_file_go_straight_to_the_worker(doors):
    for role in ("caller", "deployer", "admin"):
        assert doors.client(role).get("listed-1").echo(role) == role
        assert f":{doors._place.port}" in doors.link(role).reached


@pytest.mark.parametrize("name", ["reveal", "fails", "loads", "__len__", "rest"])
def test_methods_that_are_not_listed(doors, name):
    with pytest.raises(NotAllowed, match=rf"{doors.who('caller')} \(caller\) may not call"):
        raw_call(doors, "caller", name)


def test_who_has_to_introduce_himself_first(doors):
    hand = Hand("", peer=doors.at_worker(doors._place, "admin"))
    try:
        header, _ = hand.ask("call", plain(1), agent=doors.id("listed"), epoch=1, op="method",
                             name="echo", codec="data")  # fmt: skip
        assert (header["code"], "hello first" in header["message"]) == ("ProtocolError", True)
    finally:
        hand.close()


def test_a_route_that_a_client_chose_is_none(doors):
    import zmq

    host, _pair = doors.pairs["admin"]
    hand = Hand("", peer=doors.at_worker(doors._place, "admin"))
    hand.peer.socket.disconnect(f"tcp://{host}:{doors._place.port}")
    hand.peer.socket.setsockopt(zmq.ROUTING_ID, b"mine")
    hand.peer.socket.connect(f"tcp://{host}:{doors._place.port}")
    try:
        hand.send("hello", **hand.hello)
        header, _ = hand.receive()
        assert header["code"] == AuthenticationFailed.code
    finally:
        hand.close()


def test_a_result_of_an_agent_elsewhere_is_handed_on_by_way_of_the_daemon(doors):
    """A worker knows its own agents alone, and so cannot tell whether a caller may have it."""
    make = "tests.integration.gatekeeping:Clerk"
    options = {"name": "listed-elsewhere", "worker": "dedicated"}
    doors.client("own").create(make, options=options)
    there = doors.client("caller").get("listed-elsewhere")
    here = doors.client("caller").get("listed-1")
    kept = there.echo.submit([1, 2])
    assert here.echo(kept) == [1, 2]
    assert list(here.echo.submit(there.echo.submit("x")).result(LONG_S)) == ["x"]
    # By hand it is refused, as whose that result is cannot be known there.
    other = bytes.fromhex(agentd.handle(there).id)
    needed = ["result", os.urandom(24), other, "ipc:///nowhere", 1]
    form = msgpack.ExtType(14, msgpack.packb(needed))
    with pytest.raises(NotAllowed, match="may not hand on"):
        raw_call(doors, "caller", "echo", form, needs=[needed])


def test_an_agent_that_ended_is_told_to_those_who_might_call_it(doors):
    own = doors.client("own")
    agent = own.create("clerk", options={"name": "listed-ended"})
    secret = own.create("clerk", options={"name": "hidden"})
    for each in (agent, secret):
        agentd.handle(each).wait(LONG_S)
    where = {each: bytes.fromhex(agentd.handle(each).id) for each in (agent, secret)}
    proxy = doors.client("caller").get("listed-ended")
    assert proxy.echo(1) == 1
    for each in (agent, secret):
        own.delete(each)
    with pytest.raises(agentd.errors.AgentNotFound, match="it was deleted"):
        proxy.echo(1)
    with pytest.raises(agentd.errors.AgentNotFound):
        raw_call(doors, "caller", "echo", agent=where[agent])
    with pytest.raises(NotAllowed):
        raw_call(doors, "caller", "echo", agent=where[secret])


def test_what_overtook_itself_is_not_run_twice(doors):
    """A call that was asked again by another way, and then comes as it was sent first."""
    agent = doors.client("own").create("clerk", options={"name": "listed-once"})
    where = {"agent": bytes.fromhex(agentd.handle(agent).wait(LONG_S).id), "epoch": 1}
    where |= {"op": "method", "name": "echo", "key": os.urandom(24), "codec": "data"}
    daemon = Hand("", peer=doors.at_daemon("caller"))
    daemon.meet()
    try:
        header, _ = daemon.ask("call", plain("once"), again=True, **where)
        assert header["kind"] == "result"
        worker = doors.connection("caller")
        header, _ = worker.ask("call", plain("once"), **where)
        assert header["code"] == "TooLate"
        header, payload = worker.ask("call", plain("once"), again=True, **where)
        assert (header["kind"], msgpack.unpackb(payload[0])) == ("result", "once")
        assert len(agent.calls) == 1
        # Who tries a call once more, as it failed, may do so.
        header, _ = worker.ask("call", plain("retried"), **where)
        assert header["kind"] == "result"
        assert len(agent.calls) == 2
    finally:
        daemon.close()


def test_the_audit_log_is_told_by_the_worker(doors):
    """Access, though the call does not pass the daemon; and what was refused."""
    agent = doors.client("own").create("clerk", options={"name": "listed-audited"})
    identity = agentd.handle(agent).wait(LONG_S).id
    for number in range(3):
        raw_call(doors, "second", "echo", number, agent=bytes.fromhex(identity))
    with pytest.raises(NotAllowed):
        raw_call(doors, "second", "reveal", agent=bytes.fromhex(identity))

    def noted():
        lines = Path(doors.folder, "audit.jsonl").read_text().splitlines()
        records = [r for r in map(json.loads, lines) if identity in r.get("target", "")]
        return [(r["action"], r["decision"], r["rule"]) for r in records
                if r["who"] == doors.who("second")]  # fmt: skip

    wait_until(lambda: len(noted()) >= 2, "it to be written")
    assert noted() == [
        ("access", "allowed", "grant second"),
        ("call method", "denied", "caller"),
    ]


def test_nobody_left_a_canary(nest):
    assert {Path(f).name.split("-")[0] for f in nest.iterdir()} <= set(FREE)
