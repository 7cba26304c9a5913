"""Workers that fall silent: hung and stopped ones are told from those that are merely busy.

Code that holds Python's lock for long keeps its worker's loop from answering, and is no fault: the
process uses its processor meanwhile, or stands in line for one on a machine that is overloaded.
One that neither answers nor works is stopped, or hangs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agentd.errors import AgentdError, ConnectionLost
from agentd.protocol import patience
from agentd.protocol.messages import Ping
from agentd.server.supervisor import Supervisor
from agentd.server.workers import Worker
from agentd.transport.loop import Loop
from agentd.transport.process import activity

__all__ = ["Vigil"]

log = logging.getLogger("agentd.server")

VOUCH_S: Final = 0.25
"""How long a worker may take to show that it is well when somebody asks."""
LOOKS: Final = 4
"""At whether a worker stands in line for a processor."""
LOOK_S: Final = 0.0017
"""Between two of them: the loop waits for that, at silent workers only. No part of the
5 ms after which those who wait for Python's lock wake up."""
WORKING: Final = 0.3
"""The share of a processor that makes a silent worker a busy one. Code that computes uses, or waits
for, all of it; one that hangs waits for it now and then on a machine that is overloaded."""

Tell = Callable[[str | AgentdError], None]


@dataclass(slots=True)
class _Asked:
    """An unanswered ping to a worker."""

    at: float
    used: float
    """Seconds that the worker had worked, or wanted to, by then (see ``activity``)."""
    tell: list[Tell] = field(default_factory=list)


class Vigil:
    """Looks after workers with relayed calls, and after those that somebody asks about."""

    def __init__(
        self,
        loop: Loop,
        supervisor: Supervisor,
        heartbeat_s: float,
        has_relayed: Callable[[Worker], bool],
        on_silent: Callable[[Worker, AgentdError], None],
        look: Callable[[int], tuple[str, float] | None] = activity,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``on_silent`` is called with a worker that has relayed calls and stands still."""
        self._loop = loop
        self._supervisor = supervisor
        self._beat = heartbeat_s
        self._has_relayed = has_relayed
        self._on_silent = on_silent
        self._look = look
        self._pause = pause
        self._asked: dict[str, _Asked] = {}
        self._looking = False
        self._number = 0

    def vouch(self, worker_id: str, tell: Tell) -> None:
        """Tell ``well`` or ``busy``, or an error, within ``VOUCH_S`` seconds."""
        worker = self._supervisor.workers.get(worker_id)
        if worker is None:
            tell(ConnectionLost(f"worker {worker_id} is gone"))
            return
        standing = self._standing(worker)
        if standing is not None:
            tell(standing)
            return
        self._ask(worker).tell.append(tell)
        self._loop.later(VOUCH_S, lambda: self._judge(worker))

    def look_after(self) -> None:
        """A call is relayed: its worker is looked after until it is answered."""
        if not self._looking:
            self._looking = True
            self._loop.later(self._beat / 2, self._round)

    def answered(self, worker: Worker) -> None:
        """A worker answered a ping."""
        asked = self._asked.pop(worker.id, None)
        if asked is not None:
            for tell in asked.tell:
                tell("well")

    def _ask(self, worker: Worker) -> _Asked:
        asked = self._asked.get(worker.id)
        if asked is None:
            asked = self._asked[worker.id] = _Asked(self._loop.clock(), self._used(worker))
            self._number += 1
            self._supervisor.tell(worker, Ping(self._number, self._loop.clock()), [])
        return asked

    def _round(self) -> None:
        workers = [w for w in self._supervisor.workers.values() if self._has_relayed(w)]
        self._looking = bool(workers)
        if workers:
            self._loop.later(self._beat / 2, self._round)
        for worker in workers:
            if worker.state != "ready":
                continue
            asked = self._ask(worker)
            if self._loop.clock() - asked.at <= patience(self._beat):
                continue
            del self._asked[worker.id]
            verdict = self._verdict(worker, asked)
            for tell in asked.tell:  # who asked just now is not to wait for what is gone
                tell(verdict)
            if isinstance(verdict, AgentdError):
                log.warning("%s", verdict, extra={"action": "worker_silent", "worker": worker.id})
                self._on_silent(worker, verdict)

    def _judge(self, worker: Worker) -> None:
        asked = self._asked.get(worker.id)
        if asked is None:
            return
        told, asked.tell = asked.tell, []
        verdict = self._verdict(worker, asked)
        for tell in told:
            tell(verdict)

    def _verdict(self, worker: Worker, asked: _Asked) -> str | AgentdError:
        standing = self._standing(worker)
        if standing is not None:
            return standing
        passed = self._loop.clock() - asked.at
        if self._used(worker) - asked.used >= WORKING * passed or self._stands_in_line(worker):
            return "busy"
        if worker.channel is not None and self._loop.is_behind(worker.channel):
            return "busy"  # it may have answered: it is we who are late
        return ConnectionLost(
            f"worker {worker.id} hangs: it neither answers nor works; whether its calls ran is "
            "not known"
        )

    def _stands_in_line(self, worker: Worker) -> bool:
        """Whether it wants a processor all the time: how long it has is known when that is over.

        One look may meet a thread that wakes up for a moment, as those do that wait for Python's
        lock.
        """
        for look in range(LOOKS):
            if look:
                self._pause(LOOK_S)
            if self._activity(worker)[0] != "R":
                return False
        return True

    def _standing(self, worker: Worker) -> AgentdError | None:
        if self._activity(worker)[0] not in ("T", "t"):
            return None
        return ConnectionLost(
            f"worker {worker.id} is stopped (SIGSTOP, or a debugger); whether its calls ran is "
            "not known"
        )

    def _used(self, worker: Worker) -> float:
        return self._activity(worker)[1]

    def _activity(self, worker: Worker) -> tuple[str, float]:
        found = None if worker.process is None else self._look(worker.process.pid)
        return found or ("", 0.0)
