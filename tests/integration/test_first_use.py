"""The first use of an agent of which nothing is known yet: it was made, or got, by a name."""

import copy
import math
import operator
import pickle
import time

import pytest

import agentd
from agentd import Retry
from agentd.client.method import RemoteMethod
from agentd.client.proxy import target
from agentd.errors import AgentCreationError, CallTimeout
from tests.integration.agents import Counter
from tests.integration.conftest import LONG_S


@pytest.fixture
def never_ready(shared, tmp_path):
    """``never_ready(timeout=, options=)``: an agent whose ``__init__`` does not end."""
    made = []

    def make(timeout=None, options=None):
        client = agentd.connect(shared.endpoint, timeout=timeout)
        path = "tests.integration.agents:Late"
        options = {"worker": "dedicated", "lifetime": "client", **(options or {})}
        made.append(client.create(path, str(tmp_path / "never"), options=options))
        return made[-1]

    yield make
    for agent in made:
        agentd.handle(agent).kill()


FIRST = {
    "add": (lambda a: a + 1, 5),
    "radd": (lambda a: 1 + a, ("radd", 1)),
    "iadd": (lambda a: operator.iadd(a, 1).value, 5),
    "in place of nothing": (lambda a: operator.isub(a, 1), ("sub", 1)),
    "both sides": (lambda a: (a * copy.copy(a))[0], "mul"),
    "getitem": (lambda a: a["a"], 1),
    "setitem": (lambda a: (operator.setitem(a, "c", 3), len(a)), (None, 3)),
    "delitem": (lambda a: (operator.delitem(a, "a"), len(a)), (None, 1)),
    "contains": (lambda a: ("a" in a, "z" in a), (True, False)),
    "iter": (list, ["a", "b"]),
    "reversed": (lambda a: list(reversed(a)), ["b", "a"]),
    "len": (len, 2),
    "bool": (bool, True),
    "call": (lambda a: a(1, k=2), ("called", (1,), {"k": 2})),
    "less": (lambda a: (a < 5, a < 4), (True, False)),
    "neg": (operator.neg, -4),
    "int": (int, 4),
    "float": (float, 4.0),
    "index": (lambda a: list(range(9))[a], 4),
    "round": (lambda a: round(a, 2), ("round", 2)),
    "floor, which it lacks": (math.floor, 4),
    "pow": (lambda a: pow(a, 2, 3), 1),
    "divmod": (lambda a: divmod(a, 3), (1, 1)),
    "bytes": (bytes, b"4"),
}


@pytest.mark.parametrize("what", FIRST)
def test_an_operator_may_be_the_first_use_of_an_agent_made_by_the_name_of_its_class(shared, what):
    use, expected = FIRST[what]
    agent = shared.client.create("tests.integration.agents:Everything", 4)
    assert use(agent) == expected
    agentd.handle(agent).kill()


def test_with_may_be_the_first_use(shared):
    agent = shared.client.create("tests.integration.agents:Everything", 4)
    with agent as entered:
        assert entered == agent
        raise ZeroDivisionError("swallowed")
    assert agent.log == ["enter", "exit ZeroDivisionError swallowed"]


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda a: a + 1, "unsupported operand"),
        (lambda a: 1 + a, "unsupported operand"),
        (lambda a: a | int, "unsupported operand"),
        (lambda a: a < 1, "not supported"),
        (lambda a: a[0], "not subscriptable"),
        (len, "no len"),
        (iter, "not iterable"),
        (lambda a: a(), "not callable"),
        (lambda a: a.__enter__(), "context manager"),
        (lambda a: 1 in a, "not iterable"),
        (int, "int\\(\\) argument"),
        (operator.neg, "bad operand"),
        (next, "not an iterator"),
        (round, "__round__"),
    ],
)
def test_an_operator_that_the_class_lacks_fails_as_ever(shared, use, error):
    agent = shared.client.create("tests.integration.agents:Counter")
    with pytest.raises(TypeError, match=error):
        use(agent)
    assert bool(agent)


def test_to_compare_to_hash_and_to_show_an_agent_waits_for_nothing(never_ready):
    agent = never_ready()
    assert agent == copy.copy(agent)
    assert agent != 5
    assert len({agent, copy.copy(agent)}) == 1
    assert "Late" in str(agent)
    assert "Late" in f"{agent}"
    agentd.handle(agent).kill()


def test_an_agent_of_an_unknown_class_is_no_iterator(shared):
    agent = shared.client.create("tests.integration.agents:Counter")
    assert Counter(to_dist=shared.endpoint).echo(agent) == agent


def test_the_first_use_by_an_operator_tells_why_the_agent_could_not_be_made(shared):
    agent = shared.client.create("tests.integration.agents:NoSuchClass")
    with pytest.raises(AgentCreationError, match="NoSuchClass"):
        agent + 1


@pytest.mark.parametrize(
    "use",
    [
        lambda a: a.value,
        lambda a: a.add,
        lambda a: a + 1,
        lambda a: agentd.handle(a).ping(),
        lambda a: agentd.handle(a).stream("00"),
        lambda a: pickle.loads(pickle.dumps(a)).add,
    ],
)
def test_nobody_waits_longer_for_an_agent_than_its_calls_may_take(never_ready, use):
    """What it offers is not known before it is ready."""
    agent = never_ready(timeout=0.3)
    began = time.monotonic()
    with pytest.raises(CallTimeout, match=r"0\.3 s"):
        use(agent)
    assert time.monotonic() - began < LONG_S / 2


def test_an_agents_own_timeout_and_that_of_a_call_count_too(never_ready):
    agent = never_ready(options={"timeout": 0.3})
    with pytest.raises(CallTimeout, match=r"0\.3 s"):
        agent + 1
    method = RemoteMethod(never_ready(), "add").options(timeout=0.2)
    for call in (method, method.options(retry=Retry.fixed(1, 0.01)).submit):
        with pytest.raises(CallTimeout, match=r"0\.2 s"):
            call()


def test_to_get_an_agent_takes_as_long_as_its_client_says(shared, never_ready):
    never_ready(options={"name": "slowly made"})
    with pytest.raises(CallTimeout, match=r"'slowly made' is not ready within 0\.3 s"):
        agentd.connect(shared.endpoint, timeout=0.3).get("slowly made")


def test_an_agent_waits_for_another_no_longer_than_its_own_call_may_take(shared, never_ready):
    agent = Counter(to_dist=shared.endpoint)
    with pytest.raises(CallTimeout):
        agent.ask.options(timeout=0.3)(never_ready(), "add")
    assert agent.add.options(timeout=LONG_S)() == 1  # its turn has ended


def test_pickles_and_copies_of_a_relayed_agent_are_relayed(shared):
    client = agentd.connect(shared.endpoint, direct=False)
    agent = client.create("tests.integration.agents:Counter")
    other = Counter(to_dist=shared.endpoint)
    found = [
        pickle.loads(pickle.dumps(agent)),
        copy.deepcopy(agent),
        other.echo(agent),
        pickle.loads(pickle.dumps(agent.add)).__self__,
        client.get(agentd.handle(agent).id),
    ]
    assert [target(each).direct for each in found] == [False] * 5
    assert [each.add() for each in found] == [1, 2, 3, 4, 5]
    assert target(pickle.loads(pickle.dumps(other))).direct
    assert target(other.me()).direct
