"""Workers that run as a user of their own: all works, and they get at nothing of the daemon's.

Each refusal is beside the same attempt by the daemon's user, which succeeds: so it is the user
that makes the difference, not a path that is wrong.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

import agentd
from agentd import keys
from agentd.client.runtime import runtime
from agentd.errors import (
    AgentCrashed,
    AuthenticationFailed,
    DaemonNotFound,
    NotAllowed,
    SecretNotFound,
)
from agentd.keys import Grant, Role
from agentd.server.launcher import LocalLauncher
from tests.integration import othering
from tests.integration.conftest import environment, until_gone, wait_until
from tests.integration.lodgers import Lodger, attempt
from tests.integration.networked import PORTS
from tests.integration.othering import OTHER, UID, opened

REASON = othering.why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
CANARY = "canary-of-the-daemons-environment"


class Place:
    """A daemon that runs as root, its workers as another user."""

    def __init__(self, folder, *, before=(), env=None, **settings):
        self.folder = folder
        self.run_dir = folder / "run"
        self.config = folder / "config"
        self.audit = folder / "audit.jsonl"
        self.endpoint = f"ipc://{folder}/run/s"
        settings = {
            "bind": (self.endpoint,),
            "run_dir": str(self.run_dir),
            "config_dir": str(self.config),
            "audit_file": str(self.audit),
            "workers": 1,
            "heartbeat_s": 0.2,
            "client_grace_s": 1.0,
            "worker_user": OTHER,
            **settings,
        }
        self.endpoint = settings["bind"][0]
        program = (
            "import sys; from agentd.config import ServerConfig;"
            "from agentd.server.daemon import serve;"
            f"sys.exit(serve(ServerConfig(**{settings!r})))"
        )
        self.process = subprocess.Popen(
            [*opened(), *before, sys.executable, "-P", "-c", program],
            env=environment(CANARY_KEY=CANARY, MEANT="for workers", **(env or {})),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # nobody else is in its process group
        )
        wait_until(self._listens, "the daemon")

    def _listens(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with contextlib.suppress(DaemonNotFound):
            return agentd.connect(self.endpoint).ping() is not None
        return False

    @property
    def client(self):
        return agentd.connect(self.endpoint)

    @property
    def pids(self):
        return [worker["pid"] for worker in self.client.info()["workers"]]

    def own_folder(self):
        [found] = self.run_dir.glob("d-*")
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.process.stderr.close()


@pytest.fixture
def start(short):
    """``start(**settings)``: a daemon of the test's own, in a folder that is root's alone."""
    started = []

    def start(*, authorized=(), **settings):
        folder = Path(short, f"p{len(started)}")
        folder.mkdir(mode=0o700)
        (folder / "run").mkdir(mode=0o700)
        keys.make_pair(str(folder / "config"), "server", "s")
        for grant, key in authorized:
            keys.write_grant(str(folder / "config"), grant, key)
        started.append(Place(folder, **settings))
        return started[-1]

    yield start
    for place in started:
        place.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A daemon for all tests that leave it alone. Its folder lets everybody through: what keeps
    agents out has to be the modes of what the daemon made."""
    folder = Path(tempfile.mkdtemp(prefix="agw", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    keys.make_pair(str(folder / "config"), "server", "s")
    grant = Grant("uid:12345", "other", frozenset({Role.CALLER}), ("*",), ("*",))
    keys.write_grant(str(folder / "config"), grant, None)
    secret = folder / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    table = {"told": "env:CANARY_KEY", "file": f"file:{secret}"}
    one = Place(folder, secrets=table, worker_env=("MEANT",))
    yield one
    one.stop()
    shutil.rmtree(folder)


@pytest.fixture
def agent(place):
    one = Lodger(to_dist=place.endpoint)
    yield one
    agentd.handle(one).kill()


def test_it_runs_as_that_user_and_has_no_powers(agent):
    user = pwd.getpwnam(OTHER)
    groups = sorted(set(os.getgrouplist(OTHER, user.pw_gid)))

    assert agent.who() == ((UID,) * 3, (user.pw_gid,) * 3, groups, "/")
    for field in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert agent.status(field) == ["0" * 16]
    assert agent.status("NoNewPrivs") == ["1"]
    assert agent.attempt("become", 0) == "PermissionError"


def _of_the_daemon(place):
    """What there is to be attempted, each of which the daemon's user can do."""
    daemon = place.process.pid
    run = place.own_folder()
    worker = f"{run}/{place.client.info()['workers'][0]['id']}"
    grants = place.config / "authorized.d"
    return {
        "key": ("read", f"{place.config}/server.secret"),
        "grant": ("read", str(next(grants.glob("*.toml")))),
        "grants": ("list", str(grants)),
        "a new grant": ("write", f"{grants}/mine.toml"),
        "audit log": ("read", str(place.audit)),
        "audit log, to write": ("write", str(place.audit)),
        "head of the audit log": ("read", f"{place.audit}.head"),
        "run folder": ("list", str(place.run_dir)),
        "daemon's folder": ("list", str(run)),
        "record": ("read", f"{worker}.run"),
        "worker's socket": ("connect", f"{worker}.sock"),
        "daemon's socket": ("connect", place.endpoint.removeprefix("ipc://")),
        "lock": ("read", place.endpoint.removeprefix("ipc://") + ".lock"),
        "environment": ("read", f"/proc/{daemon}/environ"),
        "descriptors": ("list", f"/proc/{daemon}/fd"),
        "memory": ("read", f"/proc/{daemon}/maps"),
        "signal": ("signal", daemon),
        "signal to its group": ("signal group", daemon),
    }


WHAT = (
    "key", "grant", "grants", "a new grant", "audit log", "audit log, to write",
    "head of the audit log", "run folder", "daemon's folder", "record", "worker's socket",
    "daemon's socket", "lock", "environment", "descriptors", "memory", "signal",
    "signal to its group",
)  # fmt: skip


@pytest.mark.parametrize("what", WHAT)
def test_it_gets_at_nothing_of_the_daemon(agent, place, what):
    table = _of_the_daemon(place)
    assert set(table) == set(WHAT)
    attempted = table[what]

    assert agent.attempt(*attempted) == "PermissionError"
    assert attempt(*attempted) == "done"
    (place.config / "authorized.d" / "mine.toml").unlink(missing_ok=True)


def test_the_descriptor_of_shipped_code_leads_nowhere_else(agent, place):
    code = agent.code_folder()
    assert code.startswith("/proc/self/fd/")

    assert agent.attempt("leave by", code) == "PermissionError"
    assert attempt("leave by", f"{place.own_folder()}/code") == "done"


def test_all_that_agents_do(agent, place, tmp_path):
    assert list(agent.count(3)) == [0, 1, 2]
    assert agent.take({1, 2}) == {1, 2}
    assert agent.take(ValueError).__name__ == "ValueError"  # a pickle, from one's own daemon
    with pytest.raises(ZeroDivisionError):
        agent.take.submit(1).result() / 0
    saved = agent.parcel("hello").save(tmp_path)
    assert saved.read_text() == "hello"
    agent.say("a line")
    lines = lambda: place.client.logs(agentd.handle(agent).id)["lines"]  # noqa: E731
    assert wait_until(lines, "what it printed")[0]["text"] == "a line"
    relayed = agentd.connect(place.endpoint, direct=False)
    assert relayed.get(agentd.handle(agent).id).plus(1) == 2


def test_a_crash_is_charged_to_the_agent_that_ran(place):
    one, neighbour = (Lodger(to_dist=place.endpoint) for _ in range(2))
    assert neighbour.pid() == one.pid()

    with pytest.raises(AgentCrashed, match="SIGABRT"):
        one.crash()

    assert one.plus(1) == neighbour.plus(1) == 2
    rows = {row["id"]: row["restarts"] for row in place.client.agents()}
    assert [rows[agentd.handle(each).id] for each in (one, neighbour)] == [1, 1]
    for each in (one, neighbour):
        agentd.handle(each).kill()


def test_code_that_comes_along_from_a_folder_of_roots(place, script):
    script.write("import agentd\nclass Far(agentd.Agent):\n    def where(self): return __name__\n",
                 name="far.py")  # fmt: skip
    text = """
        import sys
        from far import Far
        print(Far(to_dist=sys.argv[1]).where())
    """
    assert (script.folder.parent.parent.stat().st_mode & 0o077) == 0  # closed to the worker
    assert script.run(textwrap.dedent(text), place.endpoint) == ["far"]


def test_its_environment_is_that_of_its_user(agent):
    found = agent.environment()

    assert (found["HOME"], found["USER"]) == (pwd.getpwnam(OTHER).pw_dir, OTHER)
    assert found["MEANT"] == "for workers"
    assert CANARY not in found.values()
    assert not [name for name in found if name.startswith("XDG_")]


def test_secrets_are_told_but_not_files_that_it_cannot_read(agent):
    assert agent.secret("told") == len(CANARY)
    with pytest.raises(SecretNotFound, match="ermission denied"):
        agent.secret("file")


def test_the_daemon_ends_its_workers(start):
    place = start()
    one, other = (
        Lodger(to_dist={"endpoint": place.endpoint, "worker": "dedicated"}) for _ in range(2)
    )
    pids = [one.pid(), other.pid(), *place.pids]
    one.stuck.oneway()
    time.sleep(0.3)  # it is in there
    agentd.handle(one).kill()
    until_gone(pids[0])

    place.stop()

    assert place.process.returncode == 0
    for pid in pids:
        until_gone(pid)


def test_workers_end_with_a_daemon_that_is_killed(start):
    place = start()
    one, stuck = (
        Lodger(to_dist={"endpoint": place.endpoint, "worker": "dedicated"}) for _ in range(2)
    )
    pids = {one.pid(), stuck.pid(), *place.pids}
    stuck.stuck.oneway()
    time.sleep(0.3)
    left = place.own_folder()

    place.process.kill()
    place.process.wait()

    for pid in pids:  # the stuck one by the kernel: the parent-death signal outlived the change
        until_gone(pid)
    assert left.exists()  # they may not remove it;
    again = Place(place.folder)
    assert not left.exists()  # who comes next does
    again.stop()


@pytest.fixture
def open_folder():
    """One that all users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="agx", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_agents_call_each_other_as_far_as_a_grant_of_their_user_goes(start, open_folder):
    place = start(bind=(f"unix://{open_folder}/s",), workers=2)
    one, other = (Lodger(to_dist=place.endpoint) for _ in range(2))
    with pytest.raises(DaemonNotFound, match=f"runs as uid {UID}, may not connect"):
        one.add(other, 1)

    def allow(role):
        grant = Grant(f"uid:{UID}", role.value, frozenset({role}), ("*",), ("*",))
        keys.write_grant(str(place.config), grant, None)

    def outcome():
        try:
            return one.add(other, 1)
        except (DaemonNotFound, NotAllowed, AuthenticationFailed) as error:
            return type(error)

    allow(Role.OBSERVER)
    wait_until(lambda: outcome() is NotAllowed, "the first grant to be read")
    keys.remove_grant(str(place.config), "observer")
    allow(Role.CALLER)
    wait_until(lambda: outcome() == 2, "the second grant to be read")


def test_a_daemon_with_capabilities_alone_gives_none_of_them_away(tmp_path, short):
    other = pwd.getpwnam("daemon")
    folder = Path(short)
    folder.parent.chmod(0o711)
    (folder / "run").mkdir(mode=0o700)
    caps = "+setuid,+setgid,+kill"
    before = [
        "setpriv", f"--reuid={other.pw_uid}", f"--regid={other.pw_gid}", "--clear-groups",
        f"--inh-caps={caps}", f"--ambient-caps={caps}",
    ]  # fmt: skip
    keys_of_root = Grant("uid:0", "root", frozenset({Role.ADMIN}), ("*",), ("*",))
    keys.write_grant(str(folder / "config"), keys_of_root, None)
    for each in (folder, *folder.rglob("*")):
        os.chown(each, other.pw_uid, other.pw_gid)
    bind = (f"unix://{folder}/s",)
    place = Place(folder, before=before, bind=bind, audit_file="off")
    try:
        assert int(Path(f"/proc/{place.process.pid}/status").read_text()
                   .partition("CapAmb:")[2].split()[0], 16)  # fmt: skip
        client = agentd.connect(place.endpoint, direct=False)  # root is but a guest here
        one = client.create("tests.integration.lodgers:Lodger")
        assert one.who()[0] == (UID,) * 3
        for field in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert one.status(field) == ["0" * 16]
        assert one.attempt("signal", place.process.pid) == "PermissionError"
    finally:
        place.stop()
        folder.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("user", "said"),
    [("root", "is root"), ("0", "is root"), ("nobody-of-that-name", "there is no such user"),
     ("4294967290", "there is no such user")],
)  # fmt: skip
def test_exit_code_78_and_nothing_bound(tmp_path, short, user, said):
    done = subprocess.run(
        [Path(sys.executable).parent / "agentd", "serve", "--bind", f"ipc://{short}/s"],
        env=environment(AGENTD_WORKER_USER=user),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert said in done.stderr
    assert not Path(short, "s").exists()


def test_exit_code_78_if_that_user_cannot_reach_python(short):
    closed = Path(short, "closed")
    closed.mkdir(mode=0o700)
    # All is found there by root, and by nobody else: the same Python, by another way.
    (closed / "python").symlink_to(sys.executable)
    program = (
        "import sys; sys.argv = ['agentd', 'serve', '--bind', 'ipc://" + short + "/s'];"
        "sys.executable = '" + str(closed / "python") + "';"
        "from agentd_cli.serve import main; main()"
    )
    done = subprocess.run(
        [*opened(), sys.executable, "-P", "-c", program],
        env=environment(AGENTD_WORKER_USER=OTHER),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert f"no worker can be started as {OTHER}" in done.stderr
    assert not Path(short, "s").exists()


def test_without_the_right_it_is_told_which_is_missing(short):
    done = subprocess.run(
        [*opened(), "setpriv", f"--reuid={UID}", "--clear-groups", "--inh-caps=-all",
         Path(sys.executable).parent / "agentd", "serve", "--bind", f"ipc://{short}/s"],
        env=environment(AGENTD_WORKER_USER="daemon"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "lacks CAP_KILL, CAP_SETGID, CAP_SETUID" in done.stderr


def test_in_safe_mode_too(start):
    place = start(safe=True, specs={"lodger": "tests.integration.lodgers:Lodger"})
    one = place.client.create("lodger")
    assert one.who()[0] == (UID,) * 3
    assert one.attempt("read", f"{place.config}/server.secret") == "PermissionError"
    with pytest.raises(AgentCrashed, match="SIGABRT"):
        one.crash()
    assert one.plus(1) == 2


def test_paths_that_the_workers_cannot_read_are_told(short):
    closed = Path(short, "closed")
    (closed / "code").mkdir(mode=0o755, parents=True)
    closed.chmod(0o700)
    paths = [str(closed / "code"), "/usr", str(closed / "secret"), "/no/such/folder"]
    (closed / "secret").touch()
    code = (
        "import sys; from agentd.server.launcher import LocalLauncher;"
        "from agentd.transport.users import other_user;"
        f"print(LocalLauncher(None, other_user({OTHER!r})).unreadable({paths!r}))"
    )
    done = subprocess.run(
        [*opened(), sys.executable, "-P", "-c", code],
        env=environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == repr([paths[0], paths[2]])
    assert LocalLauncher(environment()).unreadable(paths) == [], "nobody else reads them"


def test_a_stop_by_signal_is_clean(start):
    place = start()
    place.process.send_signal(signal.SIGTERM)
    assert place.process.wait(30) == 0


def test_clients_over_tcp_reach_such_a_worker_by_its_own_port(start, short, monkeypatch):
    """It has keys that it made itself, and is told grants whose files are closed to it."""
    client = Path(short, "client")
    me = keys.make_pair(str(client), "client", "me")
    grant = Grant(keys.who_of(me.public), "me", frozenset({Role.ADMIN}), ("*",), ("*",))
    monkeypatch.setenv("AGENTD_CONFIG_DIR", str(client))
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    own = f"ipc://{short}/p0/run/s"
    place = start(authorized=[(grant, me.public)], bind=(own, endpoint), worker_ports=PORTS)
    server = keys.load_pair(str(place.config), "server")
    keys.write_pin(str(client), endpoint, server.public, code=True)

    agent = Lodger(to_dist=endpoint)

    assert agent.who()[0] == (UID,) * 3
    [worker] = place.client.info()["workers"]
    [link] = runtime().session_at(endpoint).workers.links.values()
    assert link.reached == f"tcp://127.0.0.1:{worker['port']}"
    for file in (place.config / "server.secret", place.config / "authorized.d" / "me.toml"):
        assert file.read_bytes()
        assert agent.attempt("read", str(file)) == "PermissionError"
