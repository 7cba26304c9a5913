"""An embedded daemon, from its settings on: a child of a client process, gone when that is gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
from typing import Any

from agentd.config import ServerConfig
from agentd.errors import AgentdError
from agentd.printable import printable
from agentd.server.confine import worker_environment, worker_user
from agentd.server.daemon import Daemon
from agentd.server.launcher import LocalLauncher
from agentd.server.spawning import Spare
from agentd.transport import guard
from agentd.transport.process import collect_rarely

TAB = "\t"
"""What agents print keeps it; everything else that is no printable character is escaped."""


def run(settings: dict[str, Any], spare: Spare | None) -> int:
    """Run until the parent ends; its first worker is ``spare``, if there is one."""
    guard.refuse_pickles("the daemon never opens a payload")
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.getLogger().addHandler(handler)
    launcher = None
    try:
        config = ServerConfig(**{k: _frozen(v) for k, v in settings["config"].items()})
        user = worker_user(config)
        launcher = LocalLauncher(worker_environment(config, user=user), user, spare)
        daemon = Daemon(config, parent=settings["parent"], launcher=launcher, echo=_Echo())
        collect_rarely()
        daemon.run(lambda endpoint: _say({"endpoint": endpoint}))
    except AgentdError as error:
        _say({"error": [error.code, error.message]})
        return 1
    finally:
        if launcher is not None:
            launcher.close()
        elif spare is not None:
            spare.discard()
    return 0


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _say(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the client is gone, which the daemon sees itself
        os.write(1, json.dumps(answer).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 0)


class _OneLine(logging.Formatter):
    """Warnings for somebody who did not know that there is a daemon: what, and which agent."""

    def format(self, record: logging.LogRecord) -> str:
        cls = getattr(record, "cls", None)
        name = getattr(record, "agent_name", None) or str(getattr(record, "agent", ""))[:8]
        text = f"agentd: {record.getMessage()}" + (f" ({cls} {name})" if cls else "")
        return printable(text)


class _Echo:
    """What hosted agents print shows up where the client's own messages do.

    A thread of its own writes it, so that a terminal or pipe that nobody reads holds up neither
    the daemon nor, through a full pipe, the agents; what is too much is counted and left out.
    """

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(maxsize=10_000)
        self._lost = 0
        threading.Thread(target=self._write, name="agentd-echo", daemon=True).start()

    def __call__(self, source: str, stream: str, text: str) -> None:
        try:
            self._lines.put_nowait(f"({printable(source)}) {printable(text, keep=TAB)}\n")
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if self._lost:
                line = f"(agentd) {self._lost} lines of output were left out\n{line}"
                self._lost = 0
            os.write(2, line.encode("utf-8", "replace"))
