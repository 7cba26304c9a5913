"""Every test has a run folder of its own; this user's real one is never touched."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import AGENTS, BIN, Daemon, Done, environment, processes_of, run


def _short_folder() -> str:
    # Below /tmp itself: a socket's path has at most 107 bytes, which pytest's folders use up.
    return tempfile.mkdtemp(prefix="agd", dir="/tmp")


def _clear(run_dir: str) -> None:
    for pid in processes_of(run_dir):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(run_dir, ignore_errors=True)


@pytest.fixture
def run_dir() -> Iterator[str]:
    folder = _short_folder()
    yield folder
    _clear(folder)


@pytest.fixture
def agentd(run_dir: str) -> Callable[..., Done]:
    """``agentd("serve", ..., AGENTD_WORKERS="1")``, for those that end by themselves."""
    return lambda *args, **env: run("agentd", *args, env=environment(run_dir, **env))


@pytest.fixture
def agentctl(run_dir: str) -> Callable[..., Done]:
    """``agentctl("agents", "--json")`` in this test's run folder."""
    return lambda *args, **env: run("agentctl", *args, env=environment(run_dir, **env))


@pytest.fixture
def serve(run_dir: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """``serve("--workers", "1")``: a daemon that listens; nothing of it is left afterwards."""
    started: list[Daemon] = []

    def start(*args: str | Path, **more: str) -> Daemon:
        log = tmp_path / f"serve-{len(started)}.log"
        started.append(Daemon(*args, run_dir=run_dir, log=log, **more))
        return started[-1]

    yield start
    for daemon in started:
        daemon.end()
    for daemon in started:
        daemon.assert_nothing_left()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for all tests of a module, with the agents of ``shop`` to import."""
    folder = _short_folder()
    log = tmp_path_factory.mktemp("daemon") / "serve.log"
    one = Daemon("--workers", "2", "--path", AGENTS, run_dir=folder, log=log)
    try:
        yield one
        assert one.end().code == 0
        one.assert_nothing_left()
    finally:
        _clear(folder)


@pytest.fixture
def ctl(daemon: Daemon) -> Callable[..., Done]:
    """``ctl("agents", "--json")``, asked of the module's daemon."""
    return lambda *args, **env: run("agentctl", *args, env=environment(daemon.run_dir, **env))


@pytest.fixture
def stock(ctl: Callable[..., Done], request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an agent of this test's own."""
    name = request.node.name[:100]
    done = ctl("create", "shop:Stock", "5", "--name", name)
    assert done.code == 0, done.err
    yield name
    ctl("delete", name)


@pytest.fixture
def begin(daemon: Daemon) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """``begin("logs", "-f", name)``: a running agentctl, its output as pipes of text."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(BIN / "agentctl"), *args],
            # Empty is not set: what has to be seen at once it flushes by itself.
            env=environment(daemon.run_dir, PYTHONUNBUFFERED=""),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
