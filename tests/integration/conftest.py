"""Real daemons and real client processes, all in a run folder of their own."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agentd

ROOT = Path(__file__).parents[2]
LONG_S = 30.0
"""More than anything here may take on a busy machine."""

# Neither the tests nor a process they start may meet this user's own daemon. A socket's path has
# at most 107 bytes, which a folder of pytest's would use up.
_RUN = tempfile.mkdtemp(prefix="agd", dir="/tmp")
os.environ["XDG_RUNTIME_DIR"] = _RUN
atexit.register(shutil.rmtree, _RUN, ignore_errors=True)  # also if no test of ours was selected


@pytest.fixture(scope="session", autouse=True)
def _run_folder() -> Iterator[None]:
    os.environ["XDG_RUNTIME_DIR"] = _RUN
    yield
    from agentd.client.runtime import runtime

    runtime().close()  # this process's embedded daemon


class Daemon:
    """A daemon that runs as a process of its own."""

    def __init__(self, bind: str | None, **settings: Any) -> None:
        settings = {"workers": 1, "heartbeat_s": 0.2, "client_grace_s": 1.0, **settings}
        if bind is not None:
            settings["bind"] = (bind,)
        program = (
            "import sys; from agentd.config import ServerConfig;"
            "from agentd.server.daemon import serve;"
            f"sys.exit(serve(ServerConfig(**{settings!r})))"
        )
        self.process = subprocess.Popen([sys.executable, "-P", "-c", program], env=environment())
        self.endpoint = bind or f"ipc://{_RUN}/agentd/agentd.sock"
        wait_until(self._listens, "the daemon to listen")

    def _listens(self) -> bool:
        assert self.process.poll() is None, "the daemon ended"
        try:
            agentd.connect(self.endpoint).ping()
        except agentd.errors.DaemonNotFound:
            return False
        return True

    @property
    def client(self) -> agentd.Client:
        return agentd.connect(self.endpoint)

    def ids(self) -> set[str]:
        """The agents that are there."""
        return {agent["id"] for agent in self.client.agents()}

    def stop(self) -> None:
        end(self.process)


def end(process: subprocess.Popen[Any]) -> None:
    """As a person does it; a daemon that does not want to is killed, and the test fails."""
    process.terminate()
    try:
        process.wait(LONG_S)
    finally:
        process.kill()
        process.wait()


def environment(**more: str) -> dict[str, str]:
    """For a child process: this one's, less what a test may have set for agentd."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AGENTD_")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**clean, "PYTHONPATH": path, **more}


def wait_until(
    condition: Callable[[], Any], what: str, limit: float = LONG_S, every: float = 0.02
) -> Any:
    """What ``condition`` gives, as soon as that is true."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {limit:g} s for {what}"
        time.sleep(every)
    return found


def until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"process {pid} to end")


@pytest.fixture
def short() -> Iterator[str]:
    """A private folder whose path leaves room for a socket's name."""
    folder = tempfile.mkdtemp(prefix="t", dir=_RUN)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """``start_daemon(**settings)``: a daemon of this test's own."""
    started: list[Daemon] = []

    def start(**settings: Any) -> Daemon:
        bind = f"ipc://{_RUN}/own{time.monotonic_ns()}.sock"
        started.append(Daemon(bind, **settings))
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture(scope="session")
def shared() -> Iterator[Daemon]:
    """A daemon for all tests, found only by who knows its endpoint; clients are soon forgotten."""
    daemon = Daemon(f"ipc://{_RUN}/shared.sock", workers=2)
    yield daemon
    daemon.stop()


class Script:
    """Runs program texts as ``python script.py`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def write(self, text: str, name: str = "script.py") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:  # another process may be reading it
            path.write_text(text)
        return path

    def start(self, text: str, *args: str, name: str = "script.py", **env: str) -> Any:
        """The running process, its standard output and input as pipes of text."""
        path = self.write(text, name)
        process = subprocess.Popen(
            [sys.executable, str(path), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**env),
            cwd=self.folder,
        )
        self.processes.append(process)
        return process

    def run(self, text: str, *args: str, name: str = "script.py", **env: str) -> list[str]:
        """The lines that it printed; it has to succeed and to say nothing on standard error."""
        process = self.start(text, *args, name=name, **env)
        out, err = process.communicate(timeout=LONG_S * 2)
        assert process.returncode == 0, err
        assert not err.strip(), err
        return out.splitlines()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    found = Script(tmp_path)
    yield found
    found.end()


@pytest.fixture(params=["straight", "relayed"])
def hosted(request: pytest.FixtureRequest, shared: Daemon) -> Iterator[Callable[..., Any]]:
    """``hosted(Class, *args, **options)``: an agent whose calls go straight, or by the daemon."""
    made: list[Any] = []

    def host(cls: type, *args: Any, **options: Any) -> Any:
        if request.param == "relayed":
            client = agentd.connect(shared.endpoint, direct=False)
            path = f"{cls.__module__}:{cls.__qualname__}"
            agent = client.create(path, *args, options=options)
        else:
            agent = cls(*args, to_dist={"endpoint": shared.endpoint, **options})
        made.append(agent)
        return agent

    yield host
    for agent in made:
        agentd.handle(agent).kill()


@pytest.fixture(params=["direct", "relayed"])
def make(shared: Daemon, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``make(*args, **options)``: an agent, called straight or through the daemon."""
    client = agentd.connect(shared.endpoint, direct=request.param == "direct")
    made: list[Any] = []

    def make_one(*args: Any, **options: Any) -> Any:
        made.append(client.create("tests.integration.callees:Callee", *args, options=options))
        return made[-1]

    yield make_one
    for agent in made:
        agentd.handle(agent).delete()
