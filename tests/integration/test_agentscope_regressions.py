"""The defects of AgentScope 0.1's distributed mode, one test each: they must not come back.

The numbers are the rows of the study that this project began with.
"""

import asyncio
import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import agentd
from agentd import keys
from agentd.config import ServerConfig
from agentd.errors import (
    AgentCrashed,
    AgentCreationError,
    ConfigError,
    DecodeError,
    Overloaded,
    ResultExpired,
    SerializationError,
)
from agentd.server.daemon import serve
from tests.faults.harness import open_to_all
from tests.integration import gatekeeping
from tests.integration.agents import Counter, Everything, Initialised, Maker, Registry, noted
from tests.integration.callees import Callee, Crowded
from tests.integration.conftest import LONG_S, ROOT, Daemon, environment, wait_until
from tests.integration.filing import Filing
from tests.integration.test_protocol import RawClient
from tests.integration.test_roles import Canary, Doors


def test_row_01_to_dist_keeps_what_was_done_to_the_object_since_construction():
    """Was: ``to_dist()`` sent the constructor arguments again; a note added before was gone."""
    local = Counter(1)
    local.add(4)
    local.note = ["added"]
    agent = local.to_dist()
    assert (agent.value, agent.note) == (5, ["added"])


def test_row_02_init_runs_once(tmp_path):
    """Was: two pids in the log."""
    for number, make in enumerate(
        (lambda f: Initialised(f, to_dist=True), lambda f: Initialised(f).to_dist())
    ):
        file = str(tmp_path / f"notes{number}")
        agent = make(file)
        assert agent.value == 0
        assert [what for what, _pid in noted(file)].count("init") == 1


def test_row_03_nobody_is_unpickled_without_being_allowed_to_run_code(tmp_path):
    """Was: pickles of anybody were read in the create, sync and async paths (agentscope#635)."""
    doors = Doors()
    try:
        (tmp_path / "nest").mkdir()
        for role in ("caller", "submitter", "operator", "observer"):
            client = RawClient(gatekeeping.endpoint(doors.folder, role))
            try:
                client.meet()
                bird = pickle.dumps(((Canary(tmp_path / "nest" / role),), {}))
                call = {"agent": doors.id("listed"), "epoch": 1, "op": "method", "name": "echo"}
                made = {"agent": os.urandom(16), "cls": "clerk"}
                for kind, fields in (
                    ("create", {**made, "mode": "spec"}),
                    ("create", {**made, "mode": "live"}),
                    ("create", {**made, "mode": "registered"}),
                    ("call", call),
                    ("call", {**call, "hold": True, "key": os.urandom(24)}),
                    ("call", {**call, "oneway": True}),
                ):
                    header, _ = client.ask(kind, [bird, bird], codec="pickle", by="*", **fields)
                    assert header["kind"] == "error", (role, kind)
            finally:
                client.close()
        assert doors.agents["listed"].echo(1) == 1
        assert not list((tmp_path / "nest").iterdir())
    finally:
        doors.close()


def test_row_06_concurrent_calls_lose_no_update():
    """Was: 20 concurrent ``+1`` calls ended at 1."""
    agent = Careless(to_dist=True)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: agent.add(), range(20)))
    assert agent.value == 20


class Careless(agentd.Agent):
    def __init__(self):
        self.value = 0

    def add(self):
        value = self.value
        time.sleep(0.01)
        self.value = value + 1


def test_row_07_nested_calls_need_no_free_capacity(start_daemon):
    """Was: A calls B with capacity 1: hung to the last retry."""
    daemon = start_daemon(workers=1)
    one, other = (Asking(to_dist=daemon.endpoint) for _ in range(2))
    assert one.ask.options(timeout=LONG_S)(other, 3) == 3


class Asking(agentd.Agent):
    def ask(self, other, depth):
        return depth and 1 + other.ask(agentd.current_agent(), 0) + depth - 1

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds


@pytest.mark.slow
def test_row_08_a_long_call_simply_works():
    """Was: a 130 s task failed after 102 s, an 8 s task at 5 s.

    The same with a clock that is told the time: ``tests/unit/client/test_session.py``.
    """
    agent = Asking(to_dist=True)
    results = [agent.sleep.submit(130), Asking(to_dist=True).sleep.submit(8)]
    assert [result.result() for result in results] == [130, 8]


def test_row_09_exceptions_keep_type_cause_and_frames():
    """Was: one ``AgentCallError`` with text, and a bare ``AgentCreationError(host, port)``."""
    with pytest.raises(LookupError) as caught:
        Fragile(to_dist=True).look()
    assert caught.value.args == ("gone", 5)
    assert type(caught.value.__cause__) is ZeroDivisionError
    assert "in look" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(AgentCreationError, match="no good") as caught:
        Fragile(fail=True, to_dist=True).look()
    assert type(caught.value.__cause__) is ValueError
    assert "in __init__" in "".join(traceback.format_exception(caught.value))


class Fragile(agentd.Agent):
    def __init__(self, fail=False):
        if fail:
            raise ValueError("no good")

    def look(self):
        try:
            return 1 / 0
        except ZeroDivisionError as error:
            raise LookupError("gone", 5) from error


def test_row_10_hasattr_getattr_and_attribute_writes_reach_the_agent():
    """Was: ``hasattr`` and ``getattr`` with default raised; writes stayed on the proxy."""
    agent = Counter(1, to_dist=True)
    other = copy.copy(agent)
    assert not hasattr(agent, "nothing")
    assert getattr(agent, "nothing", 7) == 7
    agent.value = 10
    assert agent.add(1) == other.value == 11


def test_row_11_keyword_arguments_arrive():
    """Was: ``reply(x, y=5)`` silently dropped them."""
    agent = Everything(to_dist=True)
    assert agent.args(1, b=5, c=6, d=7) == (1, 5, (), 6, {"d": 7})
    assert agent(1, y=5) == ("called", (1,), {"y": 5})


def test_row_12_the_callers_dict_stays_as_it_is(shared):
    """Was: emptied, so that its second use silently started a child server."""
    conf = {"endpoint": shared.endpoint, "lifetime": "client"}
    for value in (1, 2):
        assert agentd.handle(Counter(value, to_dist=conf)).endpoint == shared.endpoint
        assert agentd.handle(Counter(value).to_dist(conf)).endpoint == shared.endpoint
        assert conf == {"endpoint": shared.endpoint, "lifetime": "client"}


def test_row_13_the_folder_for_agents_is_used_and_stop_succeeds(tmp_path, short):
    """Was: ``--agent-dir`` ignored; ``stop`` said that it failed when it had not."""
    # Given
    (tmp_path / "my_dir_agent.py").write_text("class MyDirAgent:\n    def hi(self): return 'hi'\n")
    endpoint = f"ipc://{short}/d.sock"
    daemon = command(
        "serve", "serve", "--bind", endpoint, "--workers", "1", "--path", str(tmp_path), cwd=short
    )
    try:
        wait_until(lambda: listens(endpoint), "the daemon to listen")
        # When
        agent = agentd.connect(endpoint).create("my_dir_agent:MyDirAgent")
        # Then
        assert agent.hi() == "hi"
        stop = command("ctl", "--endpoint", endpoint, "stop")
        out, err = stop.communicate(timeout=LONG_S)
        assert stop.returncode == 0, err
        assert "fail" not in (out + err).lower()
        assert daemon.wait(LONG_S) == 0
    finally:
        daemon.kill()
        daemon.communicate()


def command(room, *args, cwd=None, **more):
    env = environment(**more)
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(ROOT / "cli")])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from agentd_cli.{room} import main; main()", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd,
    )


def listens(endpoint):
    try:
        return agentd.connect(endpoint).ping()
    except agentd.errors.DaemonNotFound:
        return False


FORMS = {
    "dict": lambda e, o: Crowded(to_dist={"endpoint": e, **o}),
    "DistConf": lambda e, o: Crowded(to_dist=agentd.DistConf(endpoint=e, **o)),
    "live object": lambda e, o: Crowded().to_dist({"endpoint": e, **o}),
    "keywords": lambda e, o: Crowded().to_dist(e, **o),
    "by name": lambda e, o: agentd.connect(e).create(CROWDED, options=o),
    "relayed": lambda e, o: agentd.connect(e, direct=False).create(CROWDED, options=o),
    "own process": lambda e, o: Crowded(to_dist={"endpoint": e, "worker": "dedicated", **o}),
    "embedded daemon": lambda _, o: Crowded(to_dist=o),
}
CROWDED = "tests.integration.callees:Crowded"


@pytest.mark.parametrize("form", FORMS)
def test_row_14_limits_hold_in_the_process_that_hosts(start_daemon, tmp_path, form):
    """Was: ``capacity`` did not reach servers in sub-processes, which took 32 whatever was said."""
    agent = FORMS[form](start_daemon().endpoint, {"max_concurrency": 40, "mailbox": 3})
    holds(agent, tmp_path / "go", 40, 3)
    with pytest.raises(AgentCrashed):
        agent.crash()
    holds(agent, tmp_path / "go again", 40, 3)  # the worker that took its place was told, too


def holds(agent, file, running, waiting):
    """So many calls run at once, so many wait; one more is refused."""
    calls = [agent.stay.submit(str(file)) for _ in range(running + waiting)]
    wait_until(lambda: len(agent.inside()) == running, f"{running} calls to run at once")
    with pytest.raises(Overloaded) as caught:
        agent.stay(str(file))
    assert caught.value.limit == waiting
    assert len(agent.inside()) == running
    file.touch()
    assert max(call.result(LONG_S) for call in calls) == running


@pytest.mark.parametrize("given", ["flag", "variable", "file"])
def test_row_14_the_number_of_workers_holds_however_it_is_given(short, given):
    """The same of the daemon itself: three workers are three processes, which share the agents."""
    endpoint, file = f"ipc://{short}/d.sock", Path(short, "conf.toml")
    file.write_text("workers = 3\n")
    args, env = {
        "flag": (["--workers", "3"], {"AGENTD_WORKERS": "1"}),
        "variable": ([], {"AGENTD_WORKERS": "3"}),
        "file": (["--config", str(file)], {}),
    }[given]
    daemon = command("serve", "serve", "--bind", endpoint, *args, cwd=short, **env)
    try:
        wait_until(lambda: listens(endpoint), "the daemon to listen")
        agents = [Counter(to_dist=endpoint) for _ in range(6)]
        workers = {worker["pid"] for worker in agentd.connect(endpoint).info()["workers"]}
        assert len(workers) == 3
        assert {agent.pid() for agent in agents} == workers
    finally:
        daemon.terminate()
        daemon.communicate(timeout=LONG_S)


def test_row_15_classes_of_the_same_name_do_not_mix(shared):
    """Was: a registry by bare class name, in which the first one won."""
    first, second = make_class("first"), make_class("second")
    assert first.__qualname__ == second.__qualname__
    agents = [cls(to_dist=shared.endpoint) for cls in (first, second, first)]
    agents += [cls().to_dist(shared.endpoint) for cls in (first, second, first)]
    assert [agent.who() for agent in agents] == ["first", "second", "first"] * 2
    assert [isinstance(agent, first) for agent in agents[:2]] == [True, False]


def make_class(who):
    class Same(agentd.Agent):
        def who(self):
            return who

    return Same


def test_row_16_dropping_a_proxy_takes_the_agent_from_nobody(script, shared):
    """Was: ``__del__`` of one proxy ended the server that others still referred to."""
    # Given
    for endpoint in (shared.endpoint, True):
        agent, keeper = Counter(1, to_dist=endpoint), Registry(to_dist=endpoint)
        copies = [copy.copy(agent), pickle.loads(pickle.dumps(agent)), agent.me()]
        keeper.take(agent)
        assert agent.add() == 2
        # When
        del agent
        gc.collect()
        # Then
        for number in (3, 4, 5):
            assert copies.pop().add() == number
            gc.collect()
        assert keeper.values() == [5]  # now nobody but the other agent refers to it
        assert keeper.all()[0].add() == 6
    # And another process, which comes and goes
    agent = Counter(1, to_dist=shared.endpoint)
    uses = "import sys, pickle; print(pickle.loads(bytes.fromhex(sys.argv[1])).add())"
    for number in (2, 3):
        assert script.run(uses, pickle.dumps(agent).hex()) == [str(number)]
    assert agent.add() == 4


def test_row_16_a_process_that_holds_a_reference_keeps_it_when_its_maker_drops_his(script, shared):
    agent = Counter(1, to_dist=shared.endpoint)
    uses = (
        "import sys, pickle; agent = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(agent.add(), flush=True); input(); print(agent.add())"
    )
    other = script.start(uses, pickle.dumps(agent).hex())
    assert other.stdout.readline() == "2\n"
    del agent
    gc.collect()
    out, err = other.communicate("\n", timeout=LONG_S)
    assert (out, err) == ("3\n", "")


def test_row_16_an_agent_whose_worker_died_is_started_again(shared):
    """Was: nothing was restarted. What it was made of is kept by the daemon, for any number."""
    live = Counter(7)
    live.add(3)
    agents = [Counter(10, to_dist=shared.endpoint), live.to_dist(shared.endpoint)]
    for agent in agents:
        for _ in range(2):
            assert agent.add() == 11
            with pytest.raises(AgentCrashed):
                agent.boom(Deadly())
            assert agent.value == 10
        assert agentd.handle(agent).info()["restarts"] >= 2


class Deadly(Exception):
    """Ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_row_16_an_agent_may_outlive_the_client_that_made_it(script, shared):
    """Was: state died with the server, and the server with the proxy."""
    makes = (
        "import sys, agentd; from tests.integration.agents import Counter\n"
        "agent = Counter(5, to_dist={'endpoint': sys.argv[1], 'lifetime': 'daemon'})\n"
        "agent.add(2); print(agentd.handle(agent).id)"
    )
    [id_] = script.run(makes, shared.endpoint)
    time.sleep(1.5)  # longer than the grace period
    agent = shared.client.get(id_)
    assert agent.add() == 8
    agentd.handle(agent).delete()


def test_row_19_arguments_that_cannot_be_read_are_an_error_at_once():
    """Was: unpickling sat outside the ``try``; a timeout of 100 s and no error."""
    agent = Counter(1, to_dist=True)
    agent.add()
    started = time.monotonic()
    with pytest.raises(DecodeError, match="unreadable"):
        agent.echo(Unreadable())
    with pytest.raises(AgentCreationError, match="unreadable"):
        agentd.handle(Counter(Unreadable(), to_dist=True)).wait(LONG_S)
    assert time.monotonic() - started < 10
    assert agent.add() == 3


class Unreadable:
    def __reduce__(self):
        return complain, ()


def complain():
    raise RuntimeError("unreadable")


def test_row_18_waiting_clients_hold_up_nobody(tmp_path):
    """Was: a lost wake-up stalled up to 5 s, and waiting clients starved even ``is_alive``."""
    agent, file = Waited(to_dist=True), tmp_path / "go"
    assert agent.value() == 1
    with ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(agent.until, str(file)) for _ in range(64)]
        submitted = [agent.until.submit(str(file)) for _ in range(64)]
        began = time.monotonic()
        assert agentd.handle(agent).info()["state"] == "ready"
        assert agentd.handle(agent).ping() < 5
        assert agent.look() == 1
        assert time.monotonic() - began < 5
        file.touch()
        assert [w.result(LONG_S) for w in waiting] == [1] * 64
        assert [s.result(LONG_S) for s in submitted] == [1] * 64
    began = time.monotonic()
    for number in range(1_000):  # each of them is a chance to miss a wake-up
        assert agent.value.submit().result(5) == 1, number
    assert time.monotonic() - began < LONG_S


class Waited(agentd.Agent):
    def value(self):
        return 1

    @agentd.readonly
    def look(self):
        return 1

    def until(self, file):
        while not os.path.exists(file):  # noqa: PTH110 - no import that the daemon would need
            time.sleep(0.005)
        return 1


def test_row_20_references_say_where_the_agent_really_is(shared):
    """Was: the server's own idea of its host ("localhost"); copies lost the options."""
    # Given
    conf = {"endpoint": shared.endpoint, "name": "row 20", "lifetime": "client"}
    agent = Counter(1, to_dist=conf)
    elsewhere = Counter(to_dist=True)
    maker = Maker(to_dist=shared.endpoint)
    # When
    copies = [
        copy.copy(agent),
        copy.deepcopy(agent),
        pickle.loads(pickle.dumps(agent)),
        agent.me(),
        elsewhere.echo(agent),
        elsewhere.ask(agent, "me"),
    ]
    # Then
    for found in copies:
        handle = agentd.handle(found)
        assert (handle.endpoint, handle.name) == (shared.endpoint, "row 20")
        assert handle.info()["id"] == agentd.handle(agent).id
    made = maker.make(1)[0]
    assert agentd.handle(made).endpoint == shared.endpoint
    agentd.handle(agent).delete()


def test_row_17_results_are_there_after_many_newer_ones(shared):
    """Was: gone after 8,192 newer ones, as a ``None`` that failed elsewhere, 100 s later."""
    agent = Callee(to_dist=shared.endpoint)
    first = agent.echo.submit("first")
    newer = [agent.echo.submit(number) for number in range(8_300)]
    assert Callee(to_dist=shared.endpoint).size(first) == 5  # un-fetched, from where it waits
    assert first.result(LONG_S) == "first"
    assert [result.result(LONG_S) for result in newer] == list(range(8_300))


def test_row_22_streams_asyncio_and_cancelling(shared, tmp_path):
    """Was: none of them; the two first were asked for again and again."""
    agent = Callee(to_dist=shared.endpoint)
    started = tmp_path / "started"

    async def use():
        assert [n async for n in agentd.aio(agent).count(3)] == [0, 1, 2]
        assert await asyncio.gather(*(agentd.aio(agent).echo(n) for n in range(10))) == list(
            range(10)
        )
        call = asyncio.create_task(agentd.aio(agent).until_cancelled(str(started)))
        while not started.exists():
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(asyncio.wait_for(use(), LONG_S))
    assert list(agent.count(3)) == [0, 1, 2]
    assert wait_until((tmp_path / "started.cancelled").exists, "the agent to stop")


def test_row_04_no_client_reads_a_file_that_no_agent_returned(shared, tmp_path):
    """Was: ``download_file`` gave any file of the server to anybody, by its path."""
    # Given
    secret, report = tmp_path / "secret", tmp_path / "report"
    secret.write_text("secret")
    report.write_text("report")
    agent = Filing(to_dist=shared.endpoint)
    file = agent.give(str(report))
    assert file.save(tmp_path / "here").read_text() == "report"
    # When a path is named, in every place where one could be
    client = RawClient(shared.endpoint)
    client.meet()
    asked = {"agent": file.reference.agent, "epoch": 1, "offset": 0, "size": 100}
    path = str(secret)
    tries = [{"token": path.encode()}, {"token": os.urandom(16)}]
    answers = [client.ask("read", path=path, name=path, **token, **asked) for token in tries]
    client.close()
    # Then
    for answer, payload in answers:
        assert (answer["kind"], answer["code"], payload) == ("error", "ResultExpired", [])
    with pytest.raises(SerializationError):
        agent.digest(agentd.File(secret))
    # When the file that was returned becomes another one
    report.unlink()
    report.symlink_to(secret)
    # Then
    with pytest.raises(ResultExpired):
        file.save(tmp_path / "here")
    assert (tmp_path / "here").read_text() == "report"
    agentd.handle(agent).delete()


def test_row_04_nobody_without_a_grant_asks_stops_or_deletes(shared, tmp_path):
    """Was: ``stop`` and ``delete_all`` for anybody who reached the port, task ids in sequence.

    As another user of this host; over TCP: ``tests/faults/test_keys.py``.
    """
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    endpoint = f"unix://{folder}/s"
    daemon = Daemon(endpoint, config_dir=str(tmp_path))

    def told(agent):
        done = subprocess.run(
            [sys.executable, "-c", STRANGER.format(root=str(ROOT), path=f"{folder}/s"), agent],
            capture_output=True, text=True, check=True, timeout=LONG_S,
        )  # fmt: skip
        return done.stdout.splitlines()

    try:
        agent = Counter(1, to_dist=endpoint)
        agent.add(1)
        name = agentd.handle(agent).id
        with open_to_all(folder / "s"):
            assert told(name) == ["cut off"]
        # One that may look only, and so is answered:
        grant = keys.Grant("uid:65534", "guest", frozenset({keys.Role.OBSERVER}), ("*",), ("*",))
        keys.write_grant(str(tmp_path), grant, None)
        wait_until(lambda: told(name) != ["cut off"], "the grant to be read")
        refused = "error NotAllowed"
        assert told(name) == ["welcome None", refused, "answer None", "answer None", refused]
        assert agent.add(1) == 3
        assert daemon.process.poll() is None
    finally:
        daemon.stop()
        shutil.rmtree(folder)


STRANGER = """
import os, select, sys
sys.path.insert(0, {root!r})
import msgpack
from agentd.transport.local import connect
from agentd.transport.unreachable import Unreachable
os.setgid(65534); os.setuid(65534)
def say(kind, **keys):
    peer.send([b"AGD1" + msgpack.packb({{"kind": kind, "id": 1, **keys}})])
    select.select([peer.fd], [], [], 20)
    for frames in peer.receive(1)[0]:
        answer = msgpack.unpackb(frames[0][4:])
        print(answer["kind"], answer.get("code"))
        return
    raise Unreachable
try:
    peer = connect({path!r}, 20)
    say("hello", protocol=1, agentd="x", python="x", dill=None, session=os.urandom(16),
        pid=os.getpid(), host="x", started="x", role="client")
    for what in ("stop", "info", "agents", "delete"):
        say("ask", what=what, params={{"agent": sys.argv[1]}})
except (OSError, Unreachable):
    print("cut off")
"""


def test_row_05_nothing_is_on_the_network_unless_it_was_told_to_and_has_keys(shared, tmp_path):
    """Was: ``as_server`` listened on 0.0.0.0 by default, and ``--local-mode False`` meant True.

    All combinations: ``tests/acceptance/test_bind_matrix.py``.
    """
    agent = Counter(1, to_dist=shared.endpoint)
    agent.add(1)
    pids = {shared.client.info()["pid"], *(w["pid"] for w in shared.client.info()["workers"])}
    on_network = {
        line.split()[9]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
    }
    held = {
        str(fd.readlink()).removeprefix("socket:[").removesuffix("]")
        for pid in pids
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if fd.is_symlink() and str(fd.readlink()).startswith("socket:[")
    }
    assert held
    assert held & on_network == set()
    for bind in ("tcp://0.0.0.0:0", "tcp://127.0.0.1:0"):
        with pytest.raises(ConfigError, match="agentctl keygen server"):
            serve(ServerConfig(bind=(bind,), config_dir=str(tmp_path)))
