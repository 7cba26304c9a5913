"""An embedded daemon: ``python -m agentd.server``, started by a client, settings on stdin.

The first line of standard input is a JSON object: ``parent`` (process id) and ``config`` (fields
of ``ServerConfig``). One line of JSON goes to standard output once clients may come, or saying why
not: ``{"endpoint": …}`` or ``{"error": [code, message]}``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from typing import Any

from agentd.config import ServerConfig
from agentd.errors import AgentdError
from agentd.printable import printable
from agentd.server.daemon import Daemon
from agentd.transport import guard

TAB = "\t"
"""What agents print keeps it; everything else that is no printable character is escaped."""


def main() -> int:
    """Run until the parent ends."""
    told = sys.stdin.readline()
    if not told:
        return 1  # the client ended before it said what to do
    guard.refuse_pickles("the daemon never opens a payload")
    settings = json.loads(told)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.getLogger().addHandler(handler)
    try:
        config = ServerConfig(**{k: _frozen(v) for k, v in settings["config"].items()})
        Daemon(config, parent=settings["parent"], echo=_Echo()).run(
            lambda endpoint: _say({"endpoint": endpoint})
        )
    except AgentdError as error:
        _say({"error": [error.code, error.message]})
        return 1
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


if __name__ == "__main__":
    sys.exit(main())
