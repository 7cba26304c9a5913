"""The checks at a worker's door are those of the daemon's gate."""

from hypothesis import example, given
from hypothesis import strategies as st

from agentd.errors import AgentdError
from agentd.ids import show
from agentd.protocol.access import Grant, Role, Subject, allows
from agentd.protocol.checks import Checks
from agentd.protocol.messages import (
    Attach,
    Call,
    Cancel,
    Credit,
    Detach,
    Fetch,
    Keep,
    Message,
    Read,
    Release,
)

AGENTS = {
    b"1" * 16: Subject("31" * 16, "calc", "key:me"),
    b"2" * 16: Subject("32" * 16, "", "key:other"),
    b"3" * 16: Subject("33" * 16, "calc-2", "uid:0"),
}
UNKNOWN = b"9" * 16
PATTERNS = st.lists(st.sampled_from(["*", "calc", "calc-*", "32" * 16, "39" * 16]), max_size=2)
GRANTS = st.builds(
    Grant,
    st.just("key:me"),
    st.just("me"),
    st.frozensets(st.sampled_from(Role), max_size=2),
    PATTERNS.map(tuple),
    st.lists(st.sampled_from(["*", "add", "a*"]), max_size=2).map(tuple),
)
ANY = st.sampled_from([*AGENTS, UNKNOWN])
KEY = st.sampled_from([b"", b"k" * 24])
NEEDS = st.lists(ANY.map(lambda agent: ["result", b"n" * 24, agent, "x", 1]), max_size=2)
CALLS = st.builds(
    lambda agent, op, name, codec, key, by, plain, needs: Call(
        1, agent, 1, op, name, codec, key, by=by, plain=plain, needs=needs, chain=[[agent, key]]
    ),
    ANY,
    st.sampled_from(["method", "stream", "get", "set", "next", "copy", "nonsense"]),
    st.sampled_from(["add", "sub"]),
    st.sampled_from(["data", "pickle", "dill:3.11", ""]),
    KEY,
    st.sampled_from(["", "*", "key:me"]),
    st.booleans(),
    NEEDS,
)
OTHERS = st.one_of(
    st.builds(lambda agent, key: Fetch(1, agent, 1, key), ANY, KEY),
    st.builds(lambda agent, key: Attach(1, agent, 1, key, 0, 1), ANY, KEY),
    st.builds(lambda agent: Read(1, agent, 1, b"t", 0, 1), ANY),
    st.builds(Cancel, ANY, KEY),
    st.builds(lambda agent, key: Keep(agent, [key]), ANY, KEY),
    st.builds(lambda agent, key: Release(agent, [key]), ANY, KEY),
    st.builds(lambda agent: Credit(1, agent, 1), ANY),
    st.builds(lambda agent: Detach(1, agent), ANY),
)


SUBMITTER = Grant("key:me", "me", frozenset({Role.SUBMITTER}))


def verdict(subjects, grant, message, *, safe=False):
    def known(agent):
        return subjects.get(agent, Subject(show(agent)))

    checks = Checks(known, "home", lambda _who: grant, safe=safe)
    try:
        return checks.check("key:me", message)
    except AgentdError as error:
        return type(error), error.message, error.facts


@given(GRANTS, CALLS | OTHERS, st.sets(st.sampled_from([*AGENTS])), st.booleans())
@example(SUBMITTER, Fetch(1, b"1" * 16, 1, b""), set(), False)
def test_a_worker_that_knows_fewer_agents_never_lets_more_through(grant, message, here, safe):
    """And of the agents that it knows all is decided and marked as at the gate."""
    gate = verdict(AGENTS, grant, message, safe=safe)
    known = {agent: AGENTS[agent] for agent in here}
    worker = verdict(known, grant, message, safe=safe)
    agents = {message.agent, *(need[2] for need in getattr(message, "needs", ()))}
    if agents <= {*here, UNKNOWN}:
        assert worker == gate
    elif isinstance(worker, Message):
        assert worker == gate, "what goes on bears the same marks"


@given(GRANTS, st.sampled_from(["call method", "fetch", "read", "cancel"]), ANY)
def test_to_know_less_of_an_agent_never_allows_more(grant, action, agent):
    known = AGENTS.get(agent, Subject(show(agent)))
    if allows(grant, action, Subject(show(agent)), "add"):
        assert allows(grant, action, known, "add")
