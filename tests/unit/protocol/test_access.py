"""The table of roles: held against the documentation, and against the messages that there are."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.protocol.access import (
    NOT_FROM_CLIENTS,
    RULES,
    Extent,
    Grant,
    Role,
    Subject,
    admin_grant,
    allows,
    allows_of_any,
    may_code,
    roles_for,
    scoped_key,
)
from agentd.protocol.messages import KINDS

ROOT = Path(__file__).parents[3]
WORDS = {
    "–": Extent.NEVER,
    "listed": Extent.LISTED,
    "called": Extent.CALLED,
    "own": Extent.OWN,
    "whole": Extent.WHOLE,
    "any": Extent.ANY,
}


def documented():
    """The table of docs/security.md: by action and role."""
    text = (ROOT / "docs/security.md").read_text()
    header, _rule, *rows = re.search(r"\| action \|.*?\n\n", text, re.S).group().splitlines()[:-1]
    roles = [Role(name.strip()) for name in header.strip("|").split("|")[1:]]
    found = {}
    for row in rows:
        actions, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        extents = [
            Extent.NEVER if cell == "–" else _together(WORDS[w.strip()] for w in cell.split(","))
            for cell in cells
        ]
        for action in re.findall(r"`([^`]+)`", actions):
            assert action not in found
            found[action] = dict(zip(roles, extents, strict=True))
    return found


def _together(extents):
    found = Extent.NEVER
    for extent in extents:
        found |= extent
    return found


def test_the_table_is_as_documented():
    assert {a: dict(row) for a, row in RULES.items()} == documented()


def test_every_kind_of_message_has_its_rows():
    kinds = {action.partition(" ")[0] for action in RULES}
    assert kinds | NOT_FROM_CLIENTS == set(KINDS)
    assert not kinds & NOT_FROM_CLIENTS


def test_every_question_of_administration_has_a_row():
    source = (ROOT / "agentd/server/admin.py").read_text()
    verbs = set(re.findall(r'^            "(\w+)": self\._\w+,$', source, re.M)) | {"agents"}
    assert verbs == {a.removeprefix("ask ") for a in RULES if a.startswith("ask ")}
    assert len(verbs) > 5


def test_every_way_of_calling_has_a_row():
    source = (ROOT / "agentd/worker/operations.py").read_text()
    ops = set(re.findall(r'^        case "(\w+)":$', source, re.M)) | {"stream", "watch"}
    assert ops == {a.removeprefix("call ") for a in RULES if a.startswith("call ")}
    assert len(ops) > 10


def test_every_way_of_creating_has_a_row():
    source = (ROOT / "agentd/server/hosting.py").read_text()
    modes = re.search(r"spec\.mode not in \((.*?)\)", source).group(1).replace('"', "").split(", ")
    assert set(modes) == {a.removeprefix("create ") for a in RULES if a.startswith("create ")}


AGENTS = {
    "listed": Subject("aa" * 16, "calc-1", "key:other"),
    "unlisted": Subject("bb" * 16, "vault", "key:other"),
    "nameless": Subject("cc" * 16, "", "key:other"),
    "own": Subject("dd" * 16, "mine", "key:me"),
    "unknown": Subject("ee" * 16),
    "none": None,
}


def grant(*roles, agents=("calc-*",), methods=("add*",)):
    return Grant("key:me", "me", frozenset(roles), agents, methods)


def expected(extent, agent, method):
    """What the words of the documentation mean, written down once more."""
    if Extent.ANY in extent:
        return True
    if Extent.OWN in extent and agent == "own":
        return True
    if Extent.LISTED in extent and agent == "listed":
        return True
    return Extent.CALLED in extent and agent == "listed" and method.startswith("add")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(RULES))
def test_every_cell(role, action):
    for agent, method in itertools.product(AGENTS, ("add", "sub")):
        found = allows(grant(role), action, AGENTS[agent], method)
        assert found == expected(documented()[action][role], agent, method), (agent, method)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", [*RULES, "start", "ask delete_all"])
def test_nobody_need_look_at_an_agent_where_the_role_says_any(role, action):
    row = documented().get(action)
    assert allows_of_any(grant(role), action) == (row is not None and Extent.ANY in row[role])


def test_what_is_in_no_row_is_refused_to_everybody():
    for action in ("", "call", "call __init__", "ask", "ask delete_all", "start", "enlist", "drop"):
        assert not allows(admin_grant("uid:0"), action, AGENTS["listed"], "add"), action


def test_a_grant_for_all_agents_reaches_all():
    everything = grant(Role.CALLER, Role.OPERATOR, agents=("*",), methods=("*",))
    for name in ("listed", "unlisted", "nameless", "own", "unknown"):
        assert allows(everything, "call method", AGENTS[name], "anything")
        assert allows(everything, "ask kill", AGENTS[name])
    assert allows(everything, "ask stop")
    assert not allows(grant(Role.OPERATOR), "ask stop")


def test_patterns_are_for_names_and_ids_are_named_whole():
    nameless = Subject("ab" * 16, "", "key:other")
    assert not allows(grant(Role.CALLER, agents=("ab*", "?*", "a")), "locate", nameless)
    assert allows(grant(Role.CALLER, agents=("ab" * 16,)), "locate", nameless)
    assert not allows(grant(Role.CALLER, agents=("", "[!x]")), "locate", Subject())
    assert not allows(grant(Role.CALLER, agents=("Calc-1",)), "locate", AGENTS["listed"])


def test_a_grant_that_lists_nothing_reaches_nothing():
    bare = Grant("key:me", "me", frozenset({Role.CALLER}))
    for action, agent in itertools.product(RULES, AGENTS):
        assert allows(bare, action, AGENTS[agent], "add") == (
            action in ("hello", "ping", "pong", "bye", "vouch")
        )


def test_who_may_send_code():
    assert {role for role in Role if may_code(grant(role))} == {Role.DEPLOYER, Role.ADMIN}
    assert not may_code(grant(*(set(Role) - {Role.DEPLOYER, Role.ADMIN})))


def test_the_roles_that_are_named_in_errors():
    assert roles_for("call method") == "caller or submitter"
    assert roles_for("call set") == "deployer or admin"
    assert roles_for("nonsense") == "none"


some_roles = st.frozensets(st.sampled_from(list(Role)))
names = st.sampled_from(["", "calc-1", "vault", "*", "[", "ab" * 16])
subjects = st.none() | st.builds(
    Subject,
    st.sampled_from(["", "ab" * 16, "cd" * 16]),
    names,
    st.sampled_from(["", "key:me", "key:other"]),
)
grants = st.builds(
    Grant,
    st.just("key:me"),
    st.just("me"),
    some_roles,
    st.lists(names, max_size=3).map(tuple),
    st.lists(st.sampled_from(["", "*", "add", "a?d", "[", "__len__"]), max_size=3).map(tuple),
)
actions = st.sampled_from([*RULES, "", "call x", "start"])
methods = st.sampled_from(["", "add", "__len__", "a.b"])


@given(grants, some_roles, actions, subjects, methods)
def test_more_roles_never_take_anything_away(one, more, action, subject, method):
    wider = Grant(one.who, one.name, one.roles | more, one.agents, one.methods)
    if allows(one, action, subject, method):
        assert allows(wider, action, subject, method)


@given(grants, actions, subjects, methods)
def test_roles_add_up_and_no_further(one, action, subject, method):
    alone = [
        allows(Grant(one.who, one.name, frozenset({r}), one.agents, one.methods), *rest)
        for r in one.roles
        for rest in [(action, subject, method)]
    ]
    assert allows(one, action, subject, method) == any(alone)


@given(grants, actions, subjects, methods)
def test_a_restricted_peer_reaches_listed_and_own_agents_only(one, action, subject, method):
    if may_code(one) or subject is None or not allows(one, action, subject, method):
        return
    if Extent.ANY in _together(RULES[action][role] for role in one.roles):
        return
    assert "*" in one.agents or subject.maker == one.who or subject.name or subject.id in one.agents


@given(st.binary(max_size=32), st.binary(max_size=32))
def test_keys_of_two_peers_never_meet(key, other):
    assert scoped_key("key:a", key) != scoped_key("key:b", other)
    assert scoped_key("key:a", key) == scoped_key("key:a", key)
    assert (scoped_key("key:a", key) == scoped_key("key:a", other)) == (key == other)
    assert len(scoped_key("key:a", key)) == 24
