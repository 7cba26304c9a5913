"""Agents that return files, and agents that read them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentd


@dataclasses.dataclass
class Binder:
    title: str
    file: Any


class Filing(agentd.Agent):
    """Returns files in every way."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder
        self.report: Any = None

    def give(self, path: str) -> agentd.File:
        return agentd.File(path)

    def wrapped(self, path: str) -> dict[str, Any]:
        file = agentd.File(path)
        return {
            "list": [1, file],
            "tuple": (file, {"deep": [file]}),
            "binder": Binder("title", file),
            "text": "x",
        }

    def stream(self, *paths: str) -> Iterator[Any]:
        for path in paths:
            yield Binder(path, agentd.File(path))

    def iterator(self, *paths: str) -> Any:
        return (agentd.File(path) for path in paths)

    async def later(self, path: str) -> agentd.File:
        return agentd.File(path)

    def fail(self, path: str) -> None:
        error = RuntimeError("see the file")
        error.file = agentd.File(path)  # type: ignore[attr-defined]
        raise error

    def removed(self, path: str) -> list[agentd.File]:
        """It was there when it was named, and is not when the result travels."""
        file = agentd.File(path)
        Path(path).unlink()
        return [file]

    def show(self, path: str) -> None:
        self.report = agentd.File(path)

    # -- reading -----------------------------------------------------------------------------------
    def digest(self, file: Any) -> str:
        with open(file, "rb") as opened:  # noqa: PTH123 - as users write it
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def path_of(self, file: agentd.File) -> str:
        return os.fspath(file)

    def echo(self, value: Any) -> Any:
        return value

    def ask(self, other: Any, path: str) -> str:
        """Another agent reads a file of this one."""
        return str(other.digest(agentd.File(path)))

    def pid(self) -> int:
        return os.getpid()
