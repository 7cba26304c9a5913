"""How a worker is started, behind a small interface: start one, tell me when it ends.

``LocalLauncher`` runs workers as processes of this host. Another way (a cluster manager, say)
would give ``Launched`` objects with the same few members.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Final, Protocol

from agentd.errors import ConfigError
from agentd.server.spawning import Door, Spare, as_user, new_door, spawn
from agentd.transport.users import User

__all__ = ["DoorSettings", "Exit", "Launched", "Launcher", "LocalLauncher", "WorkerSettings"]

PROBE_S: Final = 30.0
"""How long a worker's imports may take, on a machine that is busy starting other things."""
_PROBE: Final = (
    "import os, sys, agentd.worker.host\n"
    "for path in sys.argv[1:]:\n"
    "    how = os.R_OK | (os.X_OK if os.path.isdir(path) else 0)\n"
    "    try: there = bool(os.stat(path))\n"
    "    except PermissionError: there = True\n"
    "    except OSError: there = False\n"
    "    sys.stdout.write('-' if there and not os.access(path, how) else '+')\n"
)


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """What a worker is told that is to be reached over the network, too."""

    hosts: tuple[str, ...]
    """Numeric addresses to listen on: those of the daemon."""
    ports: tuple[int, int]
    """First and last of those that it may listen on: it takes one that is free."""
    handshake_s: float
    max_connections: int
    max_malformed: int
    max_header_bytes: int
    max_frames: int
    max_header_depth: int
    max_header_items: int


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told on its standard input, which then stays open as its lifeline."""

    worker: str
    back: int
    """Descriptor of its connection to the daemon, which it inherits."""
    listener: int
    """Descriptor of the socket that listens at ``address``, which it inherits."""
    address: str
    """Where clients find the worker."""
    daemon: str
    """Endpoint at which clients, and so this worker's agents, find the daemon."""
    recorder: int
    """Descriptor of the flight recorder's file; the daemon's, which the worker gets: ``passed``."""
    folder: str
    """The daemon's private folder, removed by the worker should the daemon die."""
    sockets: tuple[str, ...]
    """Socket files of the daemon outside that folder."""
    path: tuple[str, ...]
    """Folders from which agents' classes may be imported."""
    parent: int
    """Process id of the daemon."""
    owner: int
    """User id of the daemon: who may connect to the worker's own socket."""
    heartbeat_s: float
    grace_s: float
    max_message_bytes: int
    """Of one message on the worker's own socket."""
    max_queued_bytes: int
    """Of answers that wait for one client there; one who is further behind is cut off."""
    kept_bytes: int
    """Of memory for long frames that wait to be used again, in each direction."""
    client_calls: int
    """Questions that one client may have open there, and their bytes."""
    client_bytes: int
    agent_calls: int
    """The same for one agent."""
    agent_bytes: int
    daemon_calls: int
    """The same of all together."""
    daemon_bytes: int
    secrets: dict[str, str] = field(default_factory=dict)
    """Where the values of secrets are, by name."""
    secret_values: dict[str, str] = field(default_factory=dict, repr=False)
    """Values that the worker cannot look up itself."""
    limits: dict[str, int] = field(default_factory=dict)
    """What the process may use; see ``server/confine.py``."""
    safe: bool = False
    """Whether other processes of this user are to be kept from reading its memory."""
    code: int = -1
    """Descriptor of the folder of code that came with agents: the same; -1: the worker finds it in
    ``folder``."""
    door: DoorSettings | None = None
    """Of the network; ``None``: it is not there."""

    @property
    def passed(self) -> tuple[int, ...]:
        """Descriptors that it gets over its connection, in this order."""
        return (self.recorder,) if self.code < 0 else (self.recorder, self.code)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: by itself with a code, or by a signal (its name)."""

    code: int | None
    signal: str | None

    @classmethod
    def of(cls, returncode: int) -> Exit:
        """From ``Popen.returncode``."""
        if returncode >= 0:
            return cls(returncode, None)
        try:
            return cls(None, signal.Signals(-returncode).name)
        except ValueError:
            return cls(None, f"signal {-returncode}")

    def __str__(self) -> str:
        return self.signal or f"exit code {self.code}"


class Launched(Protocol):
    """A worker that was started."""

    pid: int
    exit_fd: int
    """Readable when it has ended."""
    stdout: IO[bytes]
    stderr: IO[bytes]

    def exited(self) -> Exit | None:
        """How it ended, or ``None`` while it runs. Does not wait."""

    def terminate(self) -> None:
        """Ask it to end: its exit handlers run."""

    def kill(self) -> None:
        """End it and its whole process group, now."""

    def close(self) -> None:
        """Close the descriptors of one that has ended."""


class Launcher(Protocol):
    """A way of starting workers."""

    def door(self) -> Door:
        """The sockets of the worker that is started next; raises ``OSError``."""

    def start(self, settings: WorkerSettings) -> Launched:
        """Start one; raises ``OSError`` if that cannot be done now."""


class LocalProcess:
    """A process of this host, in a session and process group of its own."""

    def __init__(self, settings: WorkerSettings, process: subprocess.Popen[bytes]) -> None:
        """``process`` waits for its settings."""
        self._process = process
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.stdout = self._process.stdout
        self.stderr = self._process.stderr
        try:
            self.exit_fd = os.pidfd_open(self.pid)
        except OSError:  # out of descriptors: one that could not be watched must not run
            self._process.kill()
            self._process.communicate()
            raise
        for pipe in (self.stdout, self.stderr):
            os.set_blocking(pipe.fileno(), False)
        # A worker that died already makes this a broken pipe; its exit is reported all the same.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
            self._process.stdin.flush()

    def exited(self) -> Exit | None:
        """See ``Launched``."""
        if self._process.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self.kill()  # before its pid is given back and may become another group's
        returncode = self._process.poll()
        return None if returncode is None else Exit.of(returncode)

    def terminate(self) -> None:
        """See ``Launched``."""
        self._process.terminate()

    def kill(self) -> None:
        """See ``Launched``. The group outlives its leader: what an agent started ends too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """See ``Launched``."""
        os.close(self.exit_fd)
        for pipe in (self._process.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class LocalLauncher:
    """Workers as processes of this host, started by exec (a forked zmq context is unusable)."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        user: User | None = None,
        spare: Spare | None = None,
    ) -> None:
        """``environment``, ``user``: of the workers; by default those of this process.

        ``spare``: a worker that runs already, in that environment: it is the first one.
        """
        self._environment = environment
        self._user = user
        self._spare = spare
        self._lent: Spare | None = None

    def door(self) -> Door:
        """See ``Launcher``."""
        self._lent, self._spare = self._spare, None
        return new_door() if self._lent is None else self._lent.door

    def start(self, settings: WorkerSettings) -> Launched:
        """See ``Launcher``."""
        lent, self._lent = self._lent, None
        if lent is not None:
            return LocalProcess(settings, lent.process)
        process = spawn((settings.back, settings.listener), self._environment, self._user)
        return LocalProcess(settings, process)

    def close(self) -> None:
        """End the spare, if it was of no use."""
        for each in (self._spare, self._lent):
            if each is not None:
                each.discard()
        self._spare = self._lent = None

    def unreadable(self, paths: Iterable[str]) -> list[str]:
        """Those that a worker could not open, though they are there.

        Waits for a process that is started as a worker would be, with its imports: raises
        ``ConfigError`` if that cannot be.
        """
        if self._user is None:
            return []
        paths = list(paths)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _PROBE, *paths],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                env=self._environment,
                timeout=PROBE_S,
                **as_user(self._user),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise self._no_start(str(error)) from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise self._no_start(said[-1] if said else str(Exit.of(done.returncode)))
        return [path for path, answer in zip(paths, done.stdout, strict=True) if answer == ord("-")]

    def _no_start(self, why: str) -> ConfigError:
        return ConfigError(
            f"no worker can be started as {self._user}: {why}. It has to be able to read "
            f"{sys.executable}, its standard library, and the packages of agentd",
            key="worker_user",
        )
