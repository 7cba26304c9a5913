"""A hosted agent behaves as the same object does here: by constructor, moved live, and relayed."""

from __future__ import annotations

import copy
import itertools
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import agentd
from agentd.client.meta import to_dist
from agentd.errors import AgentCreationError, ConfigError
from tests.integration import agents
from tests.integration.agents import Counter, Everything

PLACES = ("spec", "live", "relay")


def host(place: str, cls: Any, *args: Any, **kwargs: Any) -> Any:
    """An instance, made in one of the ways that must make no difference."""
    if place == "local":
        return cls(*args, **kwargs)
    if place == "live":
        return to_dist(cls(*args, **kwargs))
    proxy = cls(*args, to_dist=True, **kwargs)
    if place == "relay":
        with agentd.connect(direct=False) as client:
            return client.get(agentd.handle(proxy).wait().id)
    return proxy


def outcome(act: Callable[[Any], Any], agent: Any) -> Any:
    """What happened, in a form that can be compared."""
    try:
        return "gave", act(agent)
    except Exception as error:
        return "raised", type(error), [named(arg) for arg in error.args]


def named(value: Any) -> Any:
    """Python itself says ``'<' not supported between`` the types, and those do differ."""
    return value.replace("RpcObject[Everything]", "Everything") if type(value) is str else value


def statement(code: str) -> Callable[[Any], Any]:
    """Runs the code with the agent as ``a``; what it left in ``r``."""
    compiled = compile(code, "<statement>", "exec")

    def act(a: Any) -> Any:
        names: dict[str, Any] = {"a": a, "itertools": itertools}
        exec(compiled, names)
        return names["r"]

    return act


EXPRESSIONS = """
a.plain()
a.args(1)
a.args(1, 5, 6, 7, c=8, d=9)
a.args(a=1, b=None, c=[1, (2, {3})], more={'x': b'y'})
a.only(1, b=2)
a.name(name='x', self_=1)
a.static(5)
a.static(a=5, b=2)
a.of(3)
a.fn(4)
a.double
a.value
a.items
a.shared
a.LIMIT
a.nothing
a.broken
a.angry
a.fail('k', 1)
a.plain(1)
a.args()
a.only(a=1, b=2)
a.__doc__
hasattr(a, 'value'), hasattr(a, 'nothing'), hasattr(a, 'plain'), hasattr(a, 'broken')
hasattr(a, 'angry')
getattr(a, 'nothing', 'default'), getattr(a, 'broken', 'default'), getattr(a, 'value', 'default')
callable(a.plain), callable(a)
a.plain == a.plain, a.plain != a.args, a.plain.__name__
[n for n in dir(a) if n[0] != '_']
a(), a(1, x=2)
a['a'], 'a' in a, 'z' in a, len(a), list(a), list(reversed(a)), dict(zip(a, a))
a['z']
[*a], {*a}, sorted(a), max(a), tuple(a)
next(iter(a))
a == a, a != a, a == 3, a != 3
a < 4, a <= 3, a > 3, a >= 3, 4 > a, 2 >= a
a < 'text'
bool(a), not a, 'yes' if a else 'no'
str(a), f'{a}', f'{a:03}', '%s' % a, bytes(a)
int(a), float(a), complex(a), [10, 11, 12, 13][a], hex(a), round(a), round(a, 2)
-a, +a, abs(a), ~a
a + 1, 1 + a, a - 1, 1 - a, a * 2, 2 * a, a @ 2
a + a
a + 'text'
'text' + a
a / 2, 6 / a, a // 2, a % 2, divmod(a, 2), divmod(7, a)
a ** 2, pow(a, 2, 5), 2 ** a, a << 1, a >> 1, a & 1, a | 4, 4 | a, a ^ 1
a % 0
hash(a) == hash(a), len({a, a}), {a: 1}[a]
sum([a, a])
isinstance(a, type(a)), issubclass(a.__class__, object)
list(a.count(3)), a.log
list(itertools.islice(a.forever(), 3))
list(a.count(0)), a.log
a.count(-1).__next__()
a._secret is None
a.self() == a
a.self().value
""".strip().splitlines()

STATEMENTS = {
    "write": "a.value = 9; r = a.value, a.plain(), a.double",
    "write new": "a.fresh = {'x': [1]}; r = a.fresh, 'fresh' in dir(a)",
    "write property": "a.double = 20; r = a.value",
    "write read-only": "a.broken = 1",
    "delete": "del a.value; r = hasattr(a, 'value')",
    "delete missing": "del a.nothing",
    "delete property": "del a.double; r = a.value",
    "setattr": "setattr(a, 'value', 4); r = a.plain()",
    "item": "a['n'] = 5; del a['a']; r = list(a), a.items",
    "delete item missing": "del a['none']",
    "in place": "b = a; a += 2; a *= 10; r = a.value, b.value, a is b or a == b",
    "in place by fallback": "a -= 1; r = a",
    "with": "\nwith a as b:\n    b.value = 8\nr = a.value, a.log, b == a",
    "with swallows": "\nwith a:\n    1 / 0\nr = a.log",
    "with lets through": "\ntry:\n    with a:\n        raise OSError(2, 'gone')\n"
    "except OSError as e:\n    r = e.args, a.log",
    "generator": "g = a.count(3); r = next(g), next(g), next(g), next(g, 'end'), a.log",
    "early close": "g = a.forever(); r = next(g), next(g); g.close(); r += (a.log,)",
    "loop left early": "\nfor n in a.forever():\n    if n == 5:\n        break\ndel n\nr = a.value",
    "generator lost": "g = a.forever(); next(g); del g; r = a.log",
    "generator never begun": "g = a.forever(); g.close(); r = a.log",
    "generator fails": "\nr = []\ntry:\n    for n in a.stumble():\n        r.append(n)\n"
    "except LookupError as e:\n    r.append(e.args)",
    "two generators": "g = a.count(2); h = a.count(2); r = next(g), next(h), list(g), list(h)",
    "unpack": "x, *y = a; r = x, y",
    "chained comparison": "r = 2 < a < 4",
    "method shadowed": "a.plain = lambda: 'mine'; r = a.plain()",
    "class attribute shadowed": "a.LIMIT = 1; r = a.LIMIT, a.of(1); del a.LIMIT; r += (a.LIMIT,)",
}

ACTS = {line: statement(f"r = ({line})") for line in EXPRESSIONS} | {
    name: statement(code) for name, code in STATEMENTS.items()
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ACTS)
def test_the_same_happens_as_on_a_local_object(place, name):
    # Given
    expected = outcome(ACTS[name], Everything())
    agent = host(place, Everything)
    # When
    found = outcome(ACTS[name], agent)
    # Then
    if name == "a._secret is None":
        assert found[:2] == ("raised", AttributeError)
    else:
        assert found == expected


# -- what is not a comparison of values ------------------------------------------------------------
@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def agent(place):
    return host(place, Everything)


@pytest.fixture
def counter(place):
    return host(place, Counter, 5)


@pytest.mark.parametrize("name", ["_secret", "_hidden", "_nothing", "__dict__", "__wrapped__"])
def test_private_names_are_an_attribute_error(agent, name):
    with pytest.raises(AttributeError, match=name):
        getattr(agent, name)
    with pytest.raises(AttributeError, match=name):
        setattr(agent, name, 1)
    with pytest.raises(AttributeError, match=name):
        delattr(agent, name)
    assert getattr(agent, name, "default") == "default"


def test_repr_tells_what_it_is_and_where_it_lives(agent):
    handle = agentd.handle(agent)
    for part in ("Everything", handle.id[:8], handle.endpoint):
        assert part in repr(agent)


def test_a_proxy_is_an_instance_of_its_class_and_of_rpc_object(agent):
    assert isinstance(agent, Everything)
    assert isinstance(agent, agentd.Agent)
    assert isinstance(agent, agentd.RpcObject)
    assert not isinstance(agent, Counter)
    assert not isinstance(Everything(), agentd.RpcObject)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda a: copy.deepcopy([a])[0]]
    + [lambda a, p=p: pickle.loads(pickle.dumps(a, p)) for p in range(6)],
)
def test_a_copy_refers_to_the_same_agent(counter, copied):
    # When
    other = copied(counter)
    other.add(1)
    # Then
    assert counter.value == 6
    assert other is not counter
    assert other == counter
    assert hash(other) == hash(counter)
    assert isinstance(other, Counter)


def test_proxies_of_different_agents_differ(counter, place):
    other = host(place, Counter, 5)
    assert counter != other
    assert len({counter, other, copy.copy(counter)}) == 2
    assert counter != 5


def test_a_proxy_is_an_argument_and_a_result_of_another_agent(counter, place):
    # Given
    other = host(place, Counter)
    # Then
    assert other.ask(counter, "add", 2) == 7
    assert counter.value == 7
    assert other.echo(counter) == counter
    assert other.echo({"x": [counter]})["x"][0].add(1) == 8
    assert other.is_counter(counter)
    assert counter.is_counter(counter)


def test_an_agent_that_is_given_to_itself_is_itself(counter):
    assert counter.ask(counter, "add", 1) == 6
    assert counter.ask([counter, counter], "count", counter) == 2


def test_an_agent_that_returns_itself_returns_a_reference(counter):
    # When
    same = counter.me()
    same.add(1)
    # Then
    assert isinstance(same, agentd.RpcObject)
    assert same == counter
    assert counter.value == 6


def test_an_agent_of_another_daemon_is_an_argument_and_a_result(counter, shared):
    # Given
    far = Counter(70, to_dist=shared.endpoint)
    # Then
    assert counter.ask(far, "add", 1) == 71
    assert far.ask(counter, "add", 1) == 6
    assert far.echo(counter) == counter
    assert counter.ask(far, "me") == far
    assert agentd.handle(counter.echo(far)).endpoint == shared.endpoint


def test_an_agent_introduces_itself_while_it_is_being_made(place):
    # Given
    registry = host(place, agents.Registry)
    # When
    new = host("spec", agents.Introduced, registry)
    # Then
    assert new.value == "done"
    assert registry.all() == [new]
    assert registry.values() == ["done"]


def test_references_to_agents_still_being_made_travel(place):
    registry = host(place, agents.Registry)
    for value in range(20):
        registry.take(Counter(value, to_dist=True))
    assert registry.values() == list(range(20))


def test_a_bare_agent_has_the_special_methods_of_an_object(place):
    bare = host(place, agents.Bare)
    assert bare
    assert bare == bare
    assert str(bare) == repr(bare)
    for act in (len, iter, int, lambda b: b + 1, lambda b: b[0], lambda b: b(), lambda b: b < 1):
        with pytest.raises(TypeError):
            act(bare)
    with pytest.raises(TypeError), bare:
        pass
    assert not callable(bare)


def test_an_abstract_class_refuses():
    with pytest.raises(TypeError, match="abstract") as local:
        agents.Shape()
    proxy = agents.Shape(to_dist=True)
    with pytest.raises(AgentCreationError, match="abstract") as caught:
        proxy.area()
    assert type(caught.value.__cause__) is TypeError
    assert str(local.value) == str(caught.value.__cause__)


def test_inheritance_and_abstract_base_classes(place):
    square = host(place, agents.Square, 3)
    assert square.area() == 9
    assert isinstance(square, agents.Shape)


def test_generic_classes(place):
    box = host(place, agents.Box[int], 4)
    assert box.open() == 4
    assert isinstance(box, agents.Box)


def test_a_class_with_the_metaclass(place):
    meta = host(place, agents.Meta, 1, extra=2)
    assert meta.greet() == "plain 1 and 2"
    assert isinstance(meta, agents.Plain)


def test_a_dataclass(place):
    point = host(place, agents.Point, 3, tags=["t"])
    point.y = 4
    assert (point.norm(), point.tags) == (25, ["t"])
    assert point == host(place, agents.Point, 3, 4, ["t"])
    assert point != host(place, agents.Point, 3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(point)


def test_slots(place):
    slotted = host(place, agents.Slotted, 1)
    slotted.b = slotted.a + 1
    assert slotted.b == 2
    del slotted.a
    assert not hasattr(slotted, "a")
    local = agents.Slotted(1)
    assert outcome(statement("a.c = 1"), slotted)[:2] == outcome(statement("a.c = 1"), local)[:2]


def test_no_public_name_of_a_class_is_shadowed(place):
    # Given
    mine = agents.Mine(to_dist=True) if place == "spec" else host(place, agents.Mine)
    local = agents.Mine()
    # Then
    for name in ("id", "name", "endpoint", "direct", "creation"):
        assert getattr(mine, name) == getattr(local, name) == f"my {name}"
    for name in ("info", "delete", "ping", "submit", "agent"):
        assert getattr(mine, name)() == getattr(local, name)() == f"my {name}"
    assert mine.to_dist() == local.to_dist() == ("my to_dist", ())
    assert mine.to_dist(1) == ("my to_dist", (1,))
    assert mine.wait(timeout=2) == "my wait 2"
    assert mine.call("n", proxy=1, deadline=2) == "my call n 1 2"
    assert len(agentd.handle(mine).id) == 32
    assert agentd.handle(mine).name is None


def test_a_proxy_has_no_public_name_of_its_own(place):
    bare = host(place, agents.Bare)
    assert [name for name in dir(bare) if not name.startswith("_")] == ["to_dist", "value"]
    for name in ("id", "info", "delete", "wait", "ping", "endpoint", "name", "submit", "handle"):
        assert not hasattr(bare, name)


def test_hosting_what_is_hosted_already(agent):
    assert agent.to_dist() == agent
    with pytest.raises(ConfigError, match="hosted already"):
        agent.to_dist(name="elsewhere")


def test_an_endless_generator_is_read_as_far_as_wanted(agent):
    stream = agent.forever()
    assert list(itertools.islice(stream, 1000)) == list(range(1000))
    assert agent.log == []
    stream.close()
    assert agent.log == ["closed"]


def test_operators_of_two_agents(place):
    three, four = host(place, Everything, 3), host(place, Everything, 4)
    assert operator.add(three, four) == 7
    assert three < four
    assert three != four
    assert three == host(place, Everything, 3)


def test_the_first_two_of_their_module_are_of_one_class(start_daemon):
    """The worker still imports the module for one of them when the other one comes."""
    daemon = start_daemon(workers=1)
    three, four = (Everything(n).to_dist(endpoint=daemon.endpoint) for n in (3, 4))
    assert operator.add(three, four) == 7


def test_an_agent_calls_an_agent_that_calls_a_third(place):
    first, second, third = (host(place, Counter, n) for n in (1, 2, 3))
    assert first.ask(second, "ask", third, "add", 10) == 13
