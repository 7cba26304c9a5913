"""Agents that try what a user of their own must not be able to do; the workers import them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import agentd


def attempt(what: str, *args: Any) -> str:
    """``done``, or the name of the error: the same for an agent and for the test itself."""
    try:
        _ATTEMPTS[what](*args)
    except OSError as error:
        return type(error).__name__
    return "done"


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def _signal_group(pid: int) -> None:
    os.killpg(os.getpgid(pid), 0)


def _write(path: str) -> None:
    with Path(path).open("ab"):
        pass


def _leave_by(fd_path: str) -> None:
    """Above a folder to which there is a descriptor."""
    fd = os.open(fd_path, os.O_PATH | os.O_DIRECTORY)
    try:
        above = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
        try:
            os.close(os.open("w1.sock", os.O_PATH, dir_fd=above))
        finally:
            os.close(above)
    finally:
        os.close(fd)


_ATTEMPTS: dict[str, Any] = {
    "read": lambda path: Path(path).read_bytes(),
    "list": os.listdir,
    "write": _write,
    "connect": _connect,
    "signal": lambda pid: os.kill(pid, 0),
    "signal group": _signal_group,
    "leave by": _leave_by,
    "become": os.setuid,
}


class Lodger(agentd.Agent):
    def attempt(self, what: str, *args: Any) -> str:
        return attempt(what, *args)

    def who(self) -> tuple[Any, ...]:
        return os.getresuid(), os.getresgid(), sorted(os.getgroups()), str(Path.cwd())

    def status(self, field: str) -> list[str]:
        """A field of /proc/self/status, of each thread."""
        found = set()
        for task in Path("/proc/self/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith(field + ":"):
                    found.add(line.partition(":")[2].strip())
        return sorted(found)

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def pid(self) -> int:
        return os.getpid()

    def code_folder(self) -> str:
        """The descriptor by which the code is reached that came with agents."""
        for fd in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the folder which is listed
                if fd.readlink().name == "code":
                    return str(fd)
        return ""

    def parcel(self, text: str) -> agentd.File:
        path = Path(tempfile.mkdtemp(), "parcel")
        path.write_text(text)
        return agentd.File(path)

    def count(self, n: int) -> Any:
        yield from range(n)

    def say(self, text: str) -> None:
        print(text)

    def crash(self) -> None:
        os.abort()

    def stuck(self) -> None:
        """In C code that keeps the interpreter's lock."""
        ctypes.PyDLL(None).sleep(60)

    def add(self, other: Any, n: int) -> int:
        return int(other.plus(n))

    def plus(self, n: int) -> int:
        return n + 1

    def take(self, value: Any) -> Any:
        return value

    def secret(self, name: str) -> int:
        return len(agentd.Secret(name).reveal())
