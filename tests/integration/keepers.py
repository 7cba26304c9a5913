"""Agents that hold secrets and mishandle them, in a module that the workers can import."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import agentd


class Unlucky(Exception):
    """Takes the secret along."""

    def __init__(self, text: str, request: Any) -> None:
        super().__init__(text)
        self.request = request


class Request:
    """Where no redaction looks."""

    def __init__(self, key: str) -> None:
        self.headers = {"Authorization": f"Bearer {key}"}


class Keeper(agentd.Agent):
    def __init__(self, key: Any, *, fail: bool = False) -> None:
        self.key = key
        self.config = {"nested": [key]}
        if fail:
            raise ValueError(f"no such key: {key.reveal()}")

    def length(self) -> int:
        return len(self.key.reveal())

    def take(self, *args: Any, **kwargs: Any) -> int:
        return len(args) + len(kwargs)

    def say(self) -> None:
        key = self.key.reveal()
        print(f"the key is {key}")
        print(f"the key is {key}", file=sys.stderr)
        logging.getLogger("keeper").error("the key is %s", key)

    def oneway_error(self) -> None:
        raise ValueError(f"the key is {self.key.reveal()}")

    def error(self, how: str = "plain") -> None:
        key = self.key.reveal()
        if how == "plain":
            raise ValueError(f"the key is {key}")
        if how == "deep":
            raise Unlucky("unlucky", Request(key))
        if how == "chain":
            try:
                raise KeyError(key)
            except KeyError as error:
                raise RuntimeError("outer") from error
        raise Unlucky("unlucky", {"key": [key]})

    def items(self) -> Any:
        yield 1
        raise ValueError(f"the key is {self.key.reveal()}")

    def crash(self) -> None:
        print(f"the key is {self.key.reveal()}", file=sys.stderr)
        os._exit(3)

    def direct(self, name: str) -> int:
        return len(agentd.Secret(name).reveal())


class Limited(agentd.Agent):
    """Uses much, and tells what it may."""

    def pid(self) -> int:
        return os.getpid()

    def eat(self, size: int) -> int:
        return len(bytearray(size))

    def spin(self) -> None:
        while True:
            sum(range(10_000))

    def open_many(self, count: int) -> int:
        opened: list[int] = []
        try:
            # Not as a list made at once: those taken before the error have to be given back.
            opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))
        finally:
            for fd in opened:
                os.close(fd)
        return len(opened)

    def core_limit(self) -> tuple[int, int]:
        return resource.getrlimit(resource.RLIMIT_CORE)

    def gains_privileges(self) -> bool:
        """Whether a program that it starts could."""
        status = subprocess.run(
            ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
        ).stdout
        return "NoNewPrivs:\t0" in status

    def dumpable(self) -> int:
        return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

    def descriptors(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found[int(entry.name)] = str(entry.readlink())
            except OSError:  # the one that the listing itself used
                continue
        return found

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def threads(self) -> int:
        return threading.active_count()
