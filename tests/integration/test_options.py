"""``to_dist`` in all its forms, and where an agent goes."""

import types
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentNotFound, ConfigError, DaemonNotFound, NameTaken
from tests.integration.agents import Counter, Point
from tests.integration.conftest import Daemon, until_gone

BOTH = [
    lambda *args, conf: Counter(*args, to_dist=conf),
    lambda *args, conf: Counter(*args).to_dist(conf),
]


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("conf", [None, False])
def test_none_and_false_make_a_plain_object(make, conf):
    counter = make(5, conf=conf)
    assert type(counter) is Counter
    assert counter.add(1) == 6
    assert type(Counter(5)) is Counter


@pytest.mark.parametrize("make", BOTH)
def test_every_form_reaches_the_daemon_it_names(make, shared):
    e = shared.endpoint
    forms = [
        e,
        {"endpoint": e},
        agentd.DistConf(endpoint=e),
        types.MappingProxyType({"endpoint": e}),
    ]
    for form in forms:
        assert agentd.handle(make(5, conf=form)).endpoint == e
    assert make(5, conf=True).add(1) == 6
    assert agentd.handle(make(5, conf=True)).endpoint != e


def test_options_of_a_live_object_are_keywords_too(shared):
    agent = Counter(5).to_dist(endpoint=shared.endpoint, name="by keyword", lifetime="client")
    with agentd.handle(agent) as handle:
        assert (handle.endpoint, handle.name) == (shared.endpoint, "by keyword")
        assert handle.info()["lifetime"] == "client"


@pytest.mark.parametrize("make", BOTH)
def test_the_dict_is_never_changed_and_can_be_used_again(make, shared):
    # Given
    conf = {"endpoint": shared.endpoint, "lifetime": "client", "worker": "shared"}
    before = dict(conf)
    # When
    first, second = make(1, conf=conf), make(2, conf=conf)
    # Then
    assert conf == before
    for agent in (first, second):
        assert agentd.handle(agent).endpoint == shared.endpoint
    assert (first.value, second.value) == (1, 2)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"nmae": "x"}, "did you mean 'name'"),
        ({"endpont": "x"}, "did you mean 'endpoint'"),
        ({"zzz": 1}, "there are: endpoint, host, port, name"),
        ({1: 2}, "no option 1"),
        ({"name": ""}, "name is a text"),
        ({"name": 5}, "name is a text"),
        ({"lifetime": "forever"}, "lifetime is 'client' or 'daemon', not 'forever'"),
        ({"worker": "own"}, "worker is 'shared' or 'dedicated'"),
        ({"get_if_exists": True}, "get_if_exists needs a name"),
        ({"host": "localhost"}, "host needs a port"),
        ({"port": 5}, "host needs a port|port a host"),
        ({"host": "localhost", "port": 12310}, "agentctl keygen client"),
        ("tcp://localhost:5", "agentctl keygen client"),
        ("tcp://localhost", "write tcp://HOST:PORT"),
        ({"endpoint": "ipc:///x", "host": "h", "port": 5}, "not both"),
        ("nonsense", "is not an endpoint; write ipc:///"),
        ("ipc://relative", "starts with /"),
        (5, "not int"),
        ([], "not list"),
    ],
)
def test_what_is_wrong_is_said_at_once(make, conf, said):
    with pytest.raises(ConfigError, match=said):
        make(1, conf=conf)


def test_an_unknown_keyword_of_a_live_object_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'lifetime'"):
        Counter(1).to_dist(lifetim="client")


def test_nobody_at_the_endpoint(short):
    for make in BOTH:
        with pytest.raises(DaemonNotFound, match="agentd serve"):
            make(1, conf=f"ipc://{short}/none.sock")


def test_a_name_is_unique_in_its_daemon(shared):
    # Given
    conf = {"endpoint": shared.endpoint, "name": "unique", "lifetime": "client"}
    first = Counter(1, to_dist=conf)
    # Then
    for make in BOTH:
        with pytest.raises(NameTaken, match="unique") as caught:
            make(2, conf=conf)
        assert caught.value.name == "unique"
    assert shared.client.get("unique") == first
    assert Counter(3, to_dist={**conf, "endpoint": None}).value == 3  # in another daemon
    # When it is gone, so is its claim to the name
    agentd.handle(first).delete()
    assert Counter(4, to_dist=conf).value == 4
    agentd.handle(shared.client.get("unique")).delete()


def test_get_if_exists_takes_the_one_that_is_there(shared):
    # Given
    conf = {"endpoint": shared.endpoint, "name": "one", "get_if_exists": True}
    first = Counter(1, to_dist=conf)
    first.add(5)
    # When
    again = Counter(100, to_dist=conf)
    live = Counter(200).to_dist(conf)
    # Then
    assert first == again == live
    assert again.value == live.value == 6
    assert agentd.handle(again).id == agentd.handle(first).id
    # but never one of another class
    with pytest.raises(NameTaken):
        Point(1, to_dist=conf)
    agentd.handle(first).delete()


def test_a_name_with_anything_in_it(shared):
    for name in ("ü n/ï", "x" * 200, "0123abcd", "-x", "1"):
        conf = agentd.DistConf(endpoint=shared.endpoint, name=name, lifetime="client")
        with agentd.handle(Counter(1, to_dist=conf)) as handle:
            assert shared.client.get(name) == handle.proxy
            assert name in [agent["name"] for agent in shared.client.agents()]
    for name in ("x" * 201, "line\n"):
        with pytest.raises(ConfigError, match="1 to 200 printable"):
            Counter(1, to_dist={"endpoint": shared.endpoint, "name": name})


def test_a_dedicated_worker_is_a_process_of_its_own(shared):
    # Given
    conf = {"endpoint": shared.endpoint, "worker": "dedicated"}
    alone = [Counter(n, to_dist=conf) for n in range(2)]
    together = [Counter(n, to_dist=shared.endpoint) for n in range(6)]
    # Then
    pids = [agent.pid() for agent in alone]
    assert len({*pids}) == 2
    assert not {*pids} & {agent.pid() for agent in together}
    # When they go, their processes do
    for agent in alone:
        agentd.handle(agent).delete()
    for pid in pids:
        until_gone(pid)


def test_the_handle(shared):
    # Given
    agent = Counter(1, to_dist={"endpoint": shared.endpoint, "name": "held", "lifetime": "client"})
    handle = agentd.handle(agent)
    # Then
    assert (handle.name, handle.endpoint, handle.proxy) == ("held", shared.endpoint, agent)
    assert handle.wait(30) is handle
    assert 0 < handle.ping() < 30
    info = handle.info()
    assert info["id"] == handle.id
    assert info["name"] == "held"
    assert info["cls"].endswith("agents:Counter")
    assert info["pid"] == agent.pid()
    assert info["restarts"] == 0
    assert "held" in repr(handle)
    # When
    handle.delete()
    handle.delete()
    # Then
    for use in (agent.add, handle.wait, handle.ping, handle.info):
        with pytest.raises(AgentNotFound):
            use()


def test_only_proxies_have_a_handle():
    with pytest.raises(ConfigError, match="Counter is not a hosted agent"):
        agentd.handle(Counter(1))


def test_the_client(shared):
    with agentd.connect(shared.endpoint) as client:
        # Given
        agent = client.create(
            "tests.integration.agents:Counter", 5, options={"name": "made", "lifetime": "client"}
        )
        # Then
        assert agentd.handle(agent).wait(30).proxy.add(1) == 6
        assert isinstance(agent, Counter)
        id_ = agentd.handle(agent).id
        assert client.get("made") == client.get(id_) == client.get(id_[:8]) == agent
        assert client.inspect("made")["id"] == id_
        assert client.info()["pid"] == shared.process.pid
        assert id_ in {found["id"] for found in client.agents()}
        assert client.delete("made") == [id_]
        with pytest.raises(AgentNotFound):
            client.get("made")
        with pytest.raises(AgentNotFound, match="no-such"):
            client.delete("no-such")
        agents = [client.create("tests.integration.agents:Counter") for _ in range(2)]
        assert client.delete(agents[0], agentd.handle(agents[1]).id) == [
            agentd.handle(agent).id for agent in agents
        ]


def test_an_agent_made_by_the_name_of_its_class_gets_its_operators(shared):
    for use in (lambda a: a.value, lambda a: a.plain(), lambda a: agentd.handle(a).wait(30)):
        agent = shared.client.create("tests.integration.agents:Everything", 4)
        use(agent)
        assert (agent + 1, len(agent), agent["a"], bool(agent)) == (5, 2, 1, True)


def test_close_leaves_the_agents_alone(shared):
    client = agentd.connect(shared.endpoint)
    agent = client.create("tests.integration.agents:Counter", value=1)
    client.close()
    assert agent.add(1) == 2


# -- where does it go? -----------------------------------------------------------------------------
WHERE = """
import os, sys, agentd
class Agent(agentd.Agent):
    def parent(self): return os.getppid()
agent = Agent(to_dist=True if len(sys.argv) < 2 else sys.argv[1])
print(agentd.handle(agent).endpoint, agentd.connect().endpoint, agent.parent(), os.getpid())
"""


def test_the_endpoint_of_the_environment(script, shared):
    endpoint, connected, parent, _ = script.run(WHERE, AGENTD_ENDPOINT=shared.endpoint)[0].split()
    assert endpoint == connected == shared.endpoint
    assert int(parent) == shared.process.pid


def test_an_explicit_endpoint_wins(script, shared, short):
    env = {"AGENTD_ENDPOINT": f"ipc://{short}/nobody.sock"}
    text = WHERE.replace("agentd.connect()", "agentd.connect(sys.argv[1])")
    assert script.run(text, shared.endpoint, **env)[0].split()[0] == shared.endpoint


def test_the_environment_names_a_daemon_that_is_not_there(script, short):
    process = script.start(WHERE, AGENTD_ENDPOINT=f"ipc://{short}/nobody.sock")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"no daemon listens on ipc://{short}/nobody.sock" in err


def test_this_users_daemon_then_an_embedded_one(script, short, monkeypatch):
    # Given
    monkeypatch.setenv("XDG_RUNTIME_DIR", short)
    monkeypatch.setattr("tests.integration.conftest._RUN", short)
    daemon = Daemon(None)
    try:
        # When there is one
        endpoint, connected, parent, _ = script.run(WHERE)[0].split()
        # Then
        assert endpoint == connected == f"ipc://{short}/agentd/agentd.sock"
        assert int(parent) == daemon.process.pid
    finally:
        daemon.stop()
    # When there is none
    endpoint, connected, parent, _ = script.run(WHERE)[0].split()
    # Then the script had one of its own, gone with it
    assert endpoint == connected != daemon.endpoint
    until_gone(int(parent))
    assert not list(Path(short, "agentd").glob("d-*"))


def test_an_embedded_daemon_is_not_wanted(script, short):
    text = """
import agentd
try:
    agentd.connect(embedded=False)
except agentd.errors.DaemonNotFound as error:
    print(error)
"""
    lines = script.run(text, XDG_RUNTIME_DIR=short)
    assert lines == [
        f"no daemon listens on ipc://{short}/agentd/agentd.sock; start one with: agentd serve"
    ]


def test_one_embedded_daemon_per_process(script, short):
    text = """
import os, agentd
from concurrent.futures import ThreadPoolExecutor
class Agent(agentd.Agent):
    def parent(self): return os.getppid()
with ThreadPoolExecutor(8) as pool:
    agents = list(pool.map(lambda _: Agent(to_dist=True), range(8)))
print(len({agent.parent() for agent in agents}))
"""
    assert script.run(text, XDG_RUNTIME_DIR=short) == ["1"]
