"""Runs the commands as a person does: as processes, in a run folder of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
AGENTS = Path(__file__).parent / "agents"
BIN = Path(sys.executable).parent
LONG_S = 60.0
"""More than anything here may take on a busy machine."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(run_dir: str, **more: str) -> dict[str, str]:
    """A person's environment, with a run folder of this test's own and our commands first."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AGENTD_")}
    # Only what is installed counts, not what this test run imports.
    clean.pop("PYTHONPATH", None)
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    return {**clean, "PATH": path, "XDG_RUNTIME_DIR": run_dir, "TZ": "UTC", **more}


def run(*args: str | Path, env: dict[str, str], cwd: Path | None = None) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [str(BIN / args[0]), *args[1:]],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONG_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """What ``condition`` gives, as soon as that is true."""
    deadline = time.monotonic() + LONG_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {LONG_S:g} s for {what}"
        time.sleep(0.02)
    return found


def listens(endpoint: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(endpoint.removeprefix("ipc://"))
        except OSError:
            return False
    return True


def processes_of(run_dir: str) -> dict[int, str]:
    """All processes that were started with that run folder, by what their environment says."""
    mark = f"XDG_RUNTIME_DIR={run_dir}\0".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes() + b"\0":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = command
            except OSError:  # it ended meanwhile, or is not ours
                pass
    return found


class Daemon:
    """``agentd serve``, running."""

    def __init__(
        self,
        *args: str | Path,
        run_dir: str,
        log: Path,
        endpoint: str | None = None,
        cwd: Path | None = None,
        **more: str,
    ) -> None:
        self.run_dir = run_dir
        self.endpoint = endpoint or f"ipc://{run_dir}/agentd/agentd.sock"
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [str(BIN / "agentd"), "serve", *map(str, args)],
                env=environment(run_dir, **more),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        wait_until(self._is_up, "agentd serve to listen")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"agentd serve ended:\n{self.log}"
        return listens(self.endpoint)

    @property
    def log(self) -> str:
        """What it wrote to standard error until now."""
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> Done:
        """Send it a signal and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            out, _ = self.process.communicate(timeout=LONG_S)
        finally:
            self.process.kill()
        return Done(self.process.returncode, out.decode(), self.log)

    def assert_nothing_left(self) -> None:
        """No process, no socket, no lock, no folder."""
        assert processes_of(self.run_dir) == {}
        left = [str(p) for p in Path(self.run_dir).rglob("*") if p.name != "agentd"]
        assert left == []


def has_escapes(text: str) -> bool:
    """Whether anything in it would do more to a terminal than to appear there."""
    return re.search(r"[^\n\t\x20-\x7e\u00a0-\uffff]", text) is not None
