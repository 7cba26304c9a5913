"""Daemons to be killed, and how to see that nothing of them is left."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import agentd
from agentd.errors import TransportError

ROOT = Path(__file__).parents[2]
LONG_S = 30.0
"""More than anything here may take on a busy machine."""
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
"""How many times as many kills, cycles and frames: `FAULT_ROUNDS=50 make faults`."""
MARK = "FAULT_MARK"
_marks = itertools.count()


def dice() -> random.Random:
    """Chance that can be had again: FAULT_SEED, else a new seed, printed."""
    seed = int(os.environ.get("FAULT_SEED") or random.randrange(2**32))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)


def measured(what: str, seconds: float) -> None:
    """For the record; `pytest -s` shows it."""
    print(f"measured: {what}: {seconds * 1000:.0f} ms")


def wait_until(condition: Callable[[], Any], what: str, limit: float = LONG_S) -> Any:
    """What ``condition`` gives, as soon as that is true."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {limit:g} s for {what}"
        time.sleep(0.01)
    return found


def pause(pid: int) -> None:
    """Stop a process, and wait until all its threads stand still.

    The signal goes to one thread; the others go on until that one gets to it.
    """
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")

    def stands_still() -> bool:
        return all(_state(task) in "Tt" for task in tasks.iterdir())

    wait_until(stands_still, f"process {pid} to stand still")


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:  # it has just ended
        return "T"


@contextlib.contextmanager
def open_to_all(path: str | Path) -> Iterator[None]:
    """As if somebody loosened a socket, again and again: its daemon closes it, and it is opened."""
    over = threading.Event()

    def loosen() -> None:
        while not over.is_set():
            Path(path).chmod(0o666)
            over.wait(0.01)

    thread = threading.Thread(target=loosen)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Place:
    """A run folder, and all processes that belong to it: children inherit its mark."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="agf", dir="/tmp")
        self.mark = f"{os.getpid()}-{next(_marks)}"
        self.endpoint = f"ipc://{self.folder}/s"
        self.own: list[subprocess.Popen[Any]] = []

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return {
            **os.environ,
            "PYTHONPATH": path,
            "XDG_RUNTIME_DIR": self.folder,
            MARK: self.mark,
        }

    def run(self, program: str, *args: str, **options: Any) -> subprocess.Popen[Any]:
        """A Python program as a process of this place."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *args], env=self.environment(), **options
        )
        self.own.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """All that run now: pid and command."""
        found = {}
        wanted = f"{MARK}={self.mark}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    command = (process / "cmdline").read_bytes()
                    found[int(process.name)] = command.replace(b"\0", b" ").decode()
        return found

    def files(self) -> list[str]:
        """All files and folders but those of locks: a lock file alone holds up nobody."""
        found = (
            Path(folder, name)
            for folder, folders, files in os.walk(self.folder)  # what goes meanwhile is no error
            for name in (*folders, *files)
        )
        return [
            str(p.relative_to(self.folder))
            for p in found
            if not p.name.endswith(".lock") and p.name != "agentd" and p.suffix != ".py"
        ]

    def clean(self, limit: float = 10.0) -> float:
        """Wait until nothing is left; how long that took."""
        began = time.monotonic()
        for process in self.own:
            process.poll()
        deadline = began + limit
        while left := (self.processes() or self.files()):
            assert time.monotonic() < deadline, f"left after {limit:g} s: {left}"
            time.sleep(0.01)
        return time.monotonic() - began

    def end(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.own:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Daemon(Place):
    """A daemon as a process of its own."""

    PROGRAM = (
        "import sys, ast, logging; logging.basicConfig(level='INFO');"
        "from agentd.config import ServerConfig;"
        "from agentd.server.daemon import serve;"
        "from agentd.errors import AgentdError\n"
        "try: sys.exit(serve(ServerConfig(**ast.literal_eval(sys.argv[1]))))\n"
        "except AgentdError as error: sys.exit(f'{error.code}: {error}')"
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = {
            "bind": (self.endpoint,),
            "run_dir": self.folder,
            "workers": 2,
            "heartbeat_s": 0.2,
            "client_grace_s": 1.0,
            **settings,
        }
        self._log = Path(f"{self.folder}/daemon.log.lock")
        self.process: subprocess.Popen[Any]

    def start(self, *, wait: bool = True, **options: Any) -> "Daemon":
        with self._log.open("a") as log:
            self.process = self.run(
                self.PROGRAM, repr(self.settings), stderr=log, stdout=log, **options
            )
        if wait:
            wait_until(self.listens, "the daemon to listen")
        return self

    def listens(self) -> bool:
        assert self.process.poll() is None, f"the daemon ended: {self.said()}"
        try:
            self.client.ping()
        except TransportError:
            return False
        return True

    def said(self) -> str:
        return self._log.read_text()

    @property
    def client(self) -> agentd.Client:
        return agentd.connect(self.endpoint)

    def forget(self) -> None:
        """What was said so far was expected."""
        self._log.write_text("")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def workers_ready(self) -> list[dict[str, Any]]:
        def ready() -> Any:
            workers = self.client.info()["workers"]
            return all(w["state"] == "ready" for w in workers) and workers

        found: list[dict[str, Any]] = wait_until(ready, "all workers")
        return found

    def end(self) -> None:
        try:
            said = self.said() if self._log.exists() else ""
            assert "a defect" not in said, said
            assert "Traceback" not in said, said
        finally:
            super().end()


def files_of(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Thread(threading.Thread):
    """Has an outcome, and must end."""

    def __init__(self, job: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._job = job
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._job()
        except BaseException as error:
            self.outcome = error

    def done(self, limit: float = LONG_S) -> Any:
        self.join(limit)
        assert not self.is_alive(), "a caller hangs"
        return self.outcome
