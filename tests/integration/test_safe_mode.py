"""A daemon in safe mode: nobody sends code, and everything else works as ever."""

import datetime
import os
import pickle
import subprocess
import sys

import msgpack
import numpy
import pytest

import agentd
from agentd.errors import CodecNotAllowed, ConfigError, DecodeError, SerializationError
from tests.integration.agents import Counter, Everything
from tests.integration.conftest import _RUN, LONG_S, Daemon, environment
from tests.integration.gatekeeping import Clerk, NotForYou, Order
from tests.integration.test_protocol import RawClient
from tests.integration.test_roles import Canary, canary_frames

SPECS = {
    "clerk": "tests.integration.gatekeeping:Clerk",
    "counter": "tests.integration.agents:Counter",
}


@pytest.fixture(scope="module")
def safe():
    daemon = Daemon(f"ipc://{_RUN}/safe.sock", safe=True, specs=SPECS, client_grace_s=60.0)
    yield daemon
    daemon.stop()


@pytest.fixture(params=["straight", "relayed"])
def client(request, safe):
    return agentd.connect(safe.endpoint, direct=request.param == "straight")


@pytest.fixture
def clerk(client):
    agent = client.create("clerk", "safe", secret="hidden")
    yield agent
    agentd.handle(agent).kill()


def test_registered_agents_are_made_by_class_and_by_name(safe, client):
    counter = Counter(5, to_dist={"endpoint": safe.endpoint})
    assert counter.add(2) == 7
    assert isinstance(counter, Counter)
    assert client.create("tests.integration.agents:Counter", 1).add(1) == 2
    assert client.create("counter", 1).add(1) == 2
    named = client.create("counter", 3, options={"name": "named"})
    assert client.create("counter", options={"name": "named", "get_if_exists": True}) == named
    agentd.handle(named).delete()


def test_others_are_not(safe, client):
    for path in ("tests.integration.agents:Everything", "os:system", "Counter"):
        with pytest.raises(ConfigError, match=r"not registered at this daemon.*\[specs\]"):
            agentd.handle(client.create(path)).wait(LONG_S)
    with pytest.raises(ConfigError, match="did you mean counter"):
        agentd.handle(client.create("countr")).wait(LONG_S)
    with pytest.raises(ConfigError, match="registered"):
        agentd.handle(Everything(to_dist={"endpoint": safe.endpoint})).wait(LONG_S)
    with pytest.raises(CodecNotAllowed, match="safe mode"):
        Counter(5).to_dist(endpoint=safe.endpoint)


def test_a_class_of_a_script_is_told_so(safe):
    class Local(agentd.Agent):
        pass

    with pytest.raises(ConfigError, match=r"Local.*not registered"):
        agentd.handle(Local(to_dist={"endpoint": safe.endpoint})).wait(LONG_S)


@pytest.mark.parametrize(
    "value",
    [
        (1, {2, 3}),
        datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC),
        {1: (2,), "a": b"\0" * 100_000},
        Order("tea", 2),
        numpy.arange(30_000.0),
        numpy.float64(2.5),
        list(range(5_000)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_plain_data_of_all_kinds(clerk, value):
    for found in (clerk.echo(value), clerk.echo.submit(value).result(LONG_S)):
        assert type(found) is type(value)
        assert (
            numpy.array_equal(found, value) if isinstance(value, numpy.ndarray) else found == value
        )


def test_all_forms_of_calls(client, clerk):
    assert list(clerk.items(3)) == [0, 1, 2]
    assert list(clerk.numbers(3)) == [0, 1, 2]
    assert len(clerk) == 7
    assert clerk.secret == "hidden"
    clerk.secret = ("new", 1)
    assert agentd.handle(clerk).look("secret").value == ("new", 1)
    assert next(iter(agentd.handle(clerk).watch("secret"))).value == ("new", 1)
    other = client.create("clerk", clerk)
    assert other.name == clerk
    assert other.echo(clerk.echo.submit((1,))) == (1,)


def test_what_is_no_plain_data(clerk):
    with pytest.raises(SerializationError, match=r"args\[0\].*safe mode"):
        clerk.echo(lambda: 1)
    with pytest.raises(SerializationError, match=r"result of thing of .*Clerk"):
        clerk.thing()
    with pytest.raises(CodecNotAllowed, match=r"copy of .*Clerk"):
        agentd.handle(clerk).fetch()
    with pytest.raises(NotForYou) as caught:
        clerk.fails("you")
    assert caught.value.when == datetime.date(2026, 1, 1)
    wrong = Order("tea")
    wrong.count = 0
    with pytest.raises(DecodeError, match="at least one"):
        clerk.echo(wrong)


def test_an_init_that_fails(client):
    broken = client.create("clerk", 1, 2, 3, 4)
    with pytest.raises(agentd.errors.AgentCreationError) as caught:
        broken.echo(1)
    assert type(caught.value.__cause__) is TypeError


def test_agents_do_not_unpickle_either(clerk, tmp_path):
    bird = pickle.dumps(Canary(tmp_path / "canary"))
    with pytest.raises(CodecNotAllowed, match="safe mode"):
        clerk.loads(bird)
    assert clerk.loads(pickle.dumps([1, "two"])) == "[1, 'two']", "this names nothing to be run"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("way", ["daemon", "worker"])
def test_no_canary_sings(safe, tmp_path, way):
    """Sent by the daemon's own user, to the daemon and straight to the worker."""
    agent = safe.client.create("clerk")
    handle = agentd.handle(agent).wait(LONG_S)
    raw = RawClient(safe.endpoint)
    try:
        raw.meet()
        ready, _ = raw.ask("locate", name=handle.id)
        if way == "worker":
            raw.close()
            raw = RawClient(ready["address"])
            assert not raw.meet().get("takes_code")
        where = {"agent": ready["agent"], "epoch": ready["epoch"]}
        payloads = canary_frames(tmp_path / "canary")
        for op in ("method", "stream", "set", "put"):
            for codec in ("pickle", f"dill:3.{sys.version_info.minor}", "iter", ""):
                for payload in payloads:
                    call = {"op": op, "name": "echo", "codec": codec, "by": "*", "credit": 9}
                    header, _ = raw.ask("call", payload, **where, **call)
                    assert header["kind"] == "error", (op, codec)
        if way == "daemon":
            for mode in ("spec", "live", "registered"):
                made = {"agent": os.urandom(16), "cls": "clerk", "mode": mode, "codec": "pickle"}
                header, _ = raw.ask("create", payloads[0], **made, by="*")
                assert header["code"] == "CodecNotAllowed", mode
            bundle = msgpack.packb([["evil", b"1" * 32, "evil.py", "/evil.py", False]])
            header, _ = raw.ask("offer", [bundle], code=os.urandom(32))
            assert header["code"] == "CodecNotAllowed"
    finally:
        raw.close()
    assert agent.echo(1) == 1
    assert not (tmp_path / "canary").exists()


def test_the_daemon_never_unpickles_whether_safe_or_not(tmp_path):
    """The hook is in every daemon; here it is asked to in its own process."""
    program = (
        "import pickle, sys\n"
        "from agentd.transport import guard\n"
        "guard.refuse_pickles('of the test'); guard.refuse_pickles('twice')\n"
        "for load in (pickle.loads, pickle._loads, __import__('dill').loads):\n"
        "    try:\n"
        "        load(bytes.fromhex(sys.argv[1]))\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
    )
    bird = pickle.dumps(Canary(tmp_path / "canary")).hex()
    command = [sys.executable, "-c", program, bird]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CodecNotAllowed"] * 3
    assert not (tmp_path / "canary").exists()


def test_agentctl_creates_what_is_registered(safe):
    def agentctl(verb, *args):
        program = "from agentd_cli.ctl import main; main()"
        command = [sys.executable, "-c", program, verb, "--endpoint", safe.endpoint, *args]
        return subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )

    made = agentctl("create", "counter", "5", "--name", "by-hand")
    assert made.returncode == 0, made.stderr
    assert agentctl("call", "by-hand", "add", "2").stdout.strip() == "7"
    made = agentctl("create", "tests.integration.agents:Everything")
    assert made.returncode != 0
    assert "not registered" in made.stderr


def test_safe_clerk_is_as_any(clerk):
    """What the tests above use is what a local one gives."""
    assert Clerk().echo((1,)) == clerk.echo((1,))
