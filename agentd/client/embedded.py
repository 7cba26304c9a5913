"""The embedded daemon: the same daemon, a child of this process, gone when this process is gone."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from typing import Any, Final

from agentd.errors import AgentdError, DaemonNotFound, from_wire
from agentd.transport.kept import limit

__all__ = ["Embedded"]

START_TIMEOUT_S: Final = 30.0
"""A loaded machine may take seconds to start an interpreter; more than this is a fault."""
STOP_TIMEOUT_S: Final = 3.0


class Embedded:
    """A daemon that was started by this process; it watches our pid and ends with it."""

    def __init__(self) -> None:
        """Start it; it is not waited for yet."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agentd.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            # A Ctrl-C in the terminal is for us; it is ended in order afterwards.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        config = {"path": _import_path(), "kept_bytes": limit()}
        settings = {"parent": os.getpid(), "config": config}
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died at once; what it says about it is read below
        self._lock = threading.Lock()  # protects the next
        self._endpoint: str | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens; waits until it does, and raises what kept it from doing so."""
        if self._endpoint is not None:
            return self._endpoint
        with self._lock:
            if self._endpoint is None:
                self._endpoint = self._read_answer()
            return self._endpoint

    def _read_answer(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        line = b""
        waiting = select.poll()  # unlike select(), it knows descriptors from 1024 on
        waiting.register(stdout, select.POLLIN | select.POLLHUP)
        while not line.endswith(b"\n"):
            ready = waiting.poll(100)
            part = os.read(stdout.fileno(), 65536) if ready else b""
            if not ready and self.running() and time.monotonic() < deadline:
                continue
            if not part:
                late = self.running() and not ready
                self.stop()
                raise DaemonNotFound(
                    "the embedded daemon did not start"
                    + (f" within {START_TIMEOUT_S:g} s" if late else "")
                    + f" (exit code {self._process.poll()}); its messages are on standard error"
                )
            line += part
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.stop()
            code, message = answer["error"]
            error: AgentdError = from_wire(code, message, {})
            raise error
        return str(answer["endpoint"])

    @property
    def listens(self) -> bool:
        """Whether it has said where."""
        return self._endpoint is not None

    def stop(self) -> None:
        """End it and wait until it has; called again, nothing."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            if not _ends(process, STOP_TIMEOUT_S):
                process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends in that time; told at once: ``Popen.wait`` only looks now and then."""
    try:
        ended = os.pidfd_open(process.pid)
    except OSError:  # it is gone, or there are no descriptors left
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(ended)


def _import_path() -> list[str]:
    """Where this process imports from, so that the workers find the same modules."""
    return [os.path.abspath(folder or os.getcwd()) for folder in sys.path if _is_folder(folder)]


def _is_folder(folder: str) -> bool:
    return os.path.isdir(folder or os.getcwd())


def _environment() -> dict[str, str]:
    """Ours, less the settings of daemons: those are for ``agentd serve``."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AGENTD_")}
