"""What is noted of clients: all that is denied, and enough of what is allowed."""

import pytest

from agentd.errors import AuditFailed
from agentd.protocol.access import Grant, Role
from agentd.protocol.messages import Ask, Call, Create, Locate
from agentd.server import trail as module
from agentd.server.audit import silent
from agentd.server.trail import AGAIN_S, Trail

AGENT, OTHER = b"a" * 16, b"b" * 16
ME = "key:me"
GRANTS = {
    who: Grant(who, "mine", frozenset({Role.CALLER, Role.OPERATOR}), ("*",), ("*",))
    for who in (ME, "uid:7")
}


class Log:
    """What was noted, and a clock."""

    def __init__(self):
        self.now = 0.0
        self.lines = []
        self.full = False
        self.trail = Trail(self.note, GRANTS.get, lambda: self.now)

    def note(self, *, who, action, target="", decision="allowed", rule="", ip=""):
        if self.full:
            raise AuditFailed("no room", action=action)
        self.lines.append((who, action, target, decision, rule))

    def reach(self, agent=AGENT, who=ME):
        self.trail.reaches(who, agent, "calc", "m:C")


@pytest.fixture
def log():
    return Log()


def test_what_is_denied_with_the_roles_that_were_not_enough(log):
    log.trail.denied(ME, Ask(1, "stop", {}))
    log.trail.denied(ME, Locate(1, None, "vault"))
    log.trail.denied("key:stranger", Call(1, AGENT, 1, "method", "add"))

    assert log.lines == [
        (ME, "ask stop", "", "denied", "caller,operator"),
        (ME, "locate", "agent vault", "denied", "caller,operator"),
        ("key:stranger", "call method", f"agent {AGENT.hex()}", "denied", "no grant"),
    ]


def test_the_first_access_of_each_client_to_each_agent(log):
    for _ in range(3):
        log.reach()
    log.reach(OTHER)
    log.reach(who="uid:7")

    target = f"{AGENT.hex()} calc m:C"
    assert log.lines == [
        (ME, "access", target, "allowed", "grant mine"),
        (ME, "access", f"{OTHER.hex()} calc m:C", "allowed", "grant mine"),
        ("uid:7", "access", target, "allowed", "grant mine"),
    ]


def test_after_an_hour_it_is_a_new_one(log):
    log.reach()
    log.now = AGAIN_S - 1
    log.reach()
    assert len(log.lines) == 1
    log.now = AGAIN_S
    log.reach()
    log.reach()
    assert len(log.lines) == 2


def test_who_made_an_agent_has_access(log):
    log.trail.creates(ME, Create(1, AGENT, "m:C", "spec", "pickle", "calc"))
    log.reach()
    assert log.lines == [
        (ME, "create", f"{AGENT.hex()} calc m:C spec pickle", "allowed", "grant mine")
    ]


def test_what_could_not_be_noted_is_not_remembered_as_noted(log):
    log.full = True
    with pytest.raises(AuditFailed):
        log.trail.creates(ME, Create(1, AGENT, "m:C", "spec", "pickle"))
    log.full = False
    log.reach()
    assert [line[1] for line in log.lines] == ["access"]


def test_who_comes_back_after_its_grant_was_gone_is_noted_again(log):
    log.reach()
    log.reach(who="uid:7")
    log.trail.evicted(ME)
    log.reach()
    log.reach(who="uid:7")
    assert [line[:2] for line in log.lines] == [
        (ME, "access"), ("uid:7", "access"), (ME, "evict"), (ME, "access"),
    ]  # fmt: skip


def test_what_is_remembered_is_bounded(log, monkeypatch):
    monkeypatch.setattr(module, "KNOWN", 3)
    for number in range(10):
        log.reach(bytes([number]) * 16)
    assert len(log.trail._noted) <= 3
    assert len(log.lines) == 10


def test_administration_and_code_but_no_mere_question(log):
    log.trail.asks(ME, Ask(1, "kill", {"agent": "calc"}))
    log.trail.asks(ME, Ask(2, "info", {}))
    log.trail.offers(ME, b"\xab" * 32)
    log.trail.turned_away("uid:8")
    assert log.lines == [
        (ME, "kill", "calc", "allowed", "grant mine"),
        (ME, "offer", "ab" * 32, "allowed", "grant mine"),
        ("uid:8", "connect", "", "denied", "no grant"),
    ]


def test_without_a_log_nothing_is_kept_in_mind():
    trail = Trail(silent, GRANTS.get, lambda: 0.0)
    trail.reaches(ME, AGENT, None, "m:C")
    assert not trail._noted
