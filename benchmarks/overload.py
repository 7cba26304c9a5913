"""Clients that ask for more than an agent can do, and go on asking: what comes of their calls.

Each keeps many calls in flight. When one is refused it sends no more until the time that the
refusal named, as a program does that does not want to make things worse.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, deque
from typing import Any, NamedTuple

from benchmarks.child import command

__all__ = ["NAME", "WORK_S", "Crowd", "Outcome", "capacity", "client"]

WORK_S = 0.01
"""What one call takes, asleep: capacity does not depend on the processor."""
NAME = "worked"
READY_S = 60.0


class Outcome(NamedTuple):
    """What became of all calls of some clients."""

    sent: int
    answered: int
    refused_by: dict[str, int]
    """As an overload, by the setting that was met."""
    other: dict[str, int]
    """Errors that are none of an overload, by type."""
    began: float
    ended: float
    """The first call, and the last answer that was a result; monotonic, of this machine."""

    @property
    def refused(self) -> int:
        """By any of them."""
        return sum(self.refused_by.values())

    @property
    def goodput_per_s(self) -> float:
        """Calls that were carried out, a second."""
        return self.answered / (self.ended - self.began)


def client(endpoint: str, calls: int, window: int) -> None:
    """One of them: says when it is ready, waits for a line, tells its outcome."""
    import agentd
    from agentd.errors import AgentdError, Overloaded

    agent: Any = agentd.connect(endpoint, direct=False).get(NAME)
    agent.nap(0.0)
    print("READY", flush=True)
    sys.stdin.readline()
    sent = answered = 0
    refused: Counter[str] = Counter()
    other: Counter[str] = Counter()
    pending: deque[Any] = deque()
    began = ended = time.monotonic()
    go_on = began
    while sent < calls or pending:
        while sent < calls and len(pending) < window and time.monotonic() >= go_on:
            pending.append(agent.nap.submit(WORK_S))
            sent += 1
        if not pending:
            time.sleep(max(0.0, go_on - time.monotonic()))
            continue
        try:
            pending.popleft().result(READY_S)
        except Overloaded as error:
            refused[error.setting or "mailbox"] += 1
            go_on = time.monotonic() + (error.retry_after or 0.0)
        except AgentdError as error:
            other[error.code] += 1
        else:
            answered += 1
            ended = time.monotonic()
    print(json.dumps(Outcome(sent, answered, refused, other, began, ended)), flush=True)


class Crowd:
    """Client processes that all ask the same agent."""

    def __init__(self, endpoint: str, clients: int, calls: int, window: int) -> None:
        """``calls``: of each."""
        job = {"endpoint": endpoint, "calls": calls, "window": window}
        self._processes = [
            subprocess.Popen(
                command("overload", job), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(clients)
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "READY\n":
                self.end()
                raise RuntimeError("a client did not start")

    def begin(self) -> None:
        """All at once."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def is_busy(self) -> bool:
        """Whether some of them have calls left."""
        return any(process.poll() is None for process in self._processes)

    def end(self) -> Outcome:
        """Wait for all; what became of their calls together."""
        told = [process.communicate()[0] for process in self._processes]
        each = [Outcome(*json.loads(text)) for text in told if text]
        if len(each) < len(self._processes):
            raise RuntimeError("a client ended early")
        refused: Counter[str] = Counter()
        other: Counter[str] = Counter()
        for one in each:
            refused.update(one.refused_by)
            other.update(one.other)
        return Outcome(
            sum(one.sent for one in each),
            sum(one.answered for one in each),
            refused,
            other,
            min(one.began for one in each),
            max(one.ended for one in each),
        )


def capacity(agent: Any, calls: int) -> float:
    """What the agent can do, calls a second, if nobody asks for too much."""
    agent.nap(0.0)
    pending: deque[Any] = deque()
    began = time.monotonic()
    for _ in range(calls):
        if len(pending) >= 4:
            pending.popleft().result(READY_S)
        pending.append(agent.nap.submit(WORK_S))
    while pending:
        pending.popleft().result(READY_S)
    return calls / (time.monotonic() - began)
