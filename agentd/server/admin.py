"""Administration: what ``ask`` may ask. Each ``what`` is one method; answers are plain data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from agentd.errors import ConfigError
from agentd.ids import show
from agentd.protocol import is_compiled, local_versions
from agentd.server.directory import Agent
from agentd.server.hosting import Hosting
from agentd.server.output import OutputBook
from agentd.server.sessions import Sessions
from agentd.server.standing import Standing
from agentd.server.supervisor import Supervisor
from agentd.transport.loop import Loop, Timer

__all__ = ["Admin"]

MAX_WAIT_S = 30.0
"""How long ``logs`` may be held open for new lines."""

Reply = Callable[[Any], None]
Sees = Callable[[Agent], bool]
"""Whether the one who asks may see an agent. Whether he may ask at all, the gate has decided."""


@dataclass(eq=False, slots=True)
class _Follower:
    """Somebody who waits for new lines of an agent."""

    after: int
    reply: Reply
    timer: Timer


class Admin:
    """Answers questions about the daemon."""

    def __init__(
        self,
        loop: Loop,
        node: str,
        endpoint: str,
        hosting: Hosting,
        supervisor: Supervisor,
        sessions: Sessions,
        book: OutputBook,
        stop: Callable[[], None],
        standing: Callable[[], Standing],
    ) -> None:
        self._loop = loop
        self._node = node
        self._endpoint = endpoint
        self._hosting = hosting
        self._supervisor = supervisor
        self._sessions = sessions
        self._book = book
        self._stop = stop
        self._standing = standing
        self._born = time.monotonic()
        self._followers: dict[bytes, list[_Follower]] = {}
        book.on_line = self._new_line
        hosting.on_ended = self._flush
        self._verbs: dict[str, Callable[[dict[str, Any], Reply], None]] = {
            "info": self._info,
            "agent": self._agent,
            "delete": self._delete,
            "kill": self._kill,
            "logs": self._logs,
            "stop": self._do_stop,
        }

    def asked(
        self,
        what: str,
        params: dict[str, Any],
        answer: Callable[[bytes], None],
        sees: Sees = lambda _agent: True,
    ) -> None:
        """Answer now or later; raises typed errors."""
        if what == "agents":
            self._agents(sees, lambda data: answer(msgpack.packb(data)))
            return
        verb = self._verbs.get(what)
        if verb is None:
            raise ConfigError(f"the daemon cannot be asked {what!r}, only {', '.join(self.verbs)}")
        verb(params, lambda data: answer(msgpack.packb(data)))

    @property
    def verbs(self) -> tuple[str, ...]:
        """What it can be asked."""
        return ("agents", *self._verbs)

    def _info(self, _params: dict[str, Any], reply: Reply) -> None:
        mine = local_versions()
        reply(
            {
                "daemon": self._node,
                "endpoint": self._endpoint,
                "pid": os.getpid(),
                "version": mine.agentd,
                "protocol": mine.protocol,
                "python": mine.python,
                "compiled": is_compiled(),
                "dill": mine.dill,
                "uptime_s": time.monotonic() - self._born,
                "agents": len(self._hosting.directory),
                "sessions": len(self._sessions),
                "draining": self._hosting.draining,
                **self._standing(),
                "workers": [
                    {
                        "id": w.id,
                        "pid": w.process.pid if w.process else None,
                        "state": w.state,
                        "agents": len(w.agents),
                        "restarts": w.restarts,
                        "dedicated": w.dedicated,
                        "port": w.port,
                    }
                    for w in self._supervisor.workers.values()
                ],
            }
        )

    def _agents(self, sees: Sees, reply: Reply) -> None:
        reply([self._row(agent) for agent in self._hosting.directory if sees(agent)])

    def _agent(self, params: dict[str, Any], reply: Reply) -> None:
        agent = self._named(params)
        options = agent.spec
        reply(
            {
                **self._row(agent),
                "methods": sorted(agent.about.get("methods", {})),
                "specials": agent.about.get("specials", []),
                "doc": agent.about.get("doc"),
                "mode": options.mode,
                "options": {"lifetime": options.lifetime, "worker": options.placement},
                "payload_bytes": sum(memoryview(part).nbytes for part in agent.payload),
                "isolated": agent.isolated,
                "last_error": next((f.message for f in reversed(agent.fates.values())), None),
                "made_by": show(options.parent) if options.parent else None,
            }
        )

    def _row(self, agent: Agent) -> dict[str, Any]:
        worker = self._supervisor.workers.get(agent.worker)
        return {
            "id": show(agent.id),
            "name": agent.spec.name,
            "cls": agent.spec.cls,
            "state": agent.state.value,
            "mode": agent.spec.mode,
            "lifetime": agent.spec.lifetime,
            "worker": agent.worker,
            "pid": worker.process.pid if worker and worker.process else None,
            "epoch": agent.epoch,
            "restarts": agent.restarts,
            "created_at": agent.created_at,
            "owner": agent.owner.hex(),
        }

    def _delete(self, params: dict[str, Any], reply: Reply) -> None:
        agent = self._named(params)
        identity = show(agent.id)
        self._hosting.delete(agent, "it was deleted", lambda: reply({"id": identity}))

    def _kill(self, params: dict[str, Any], reply: Reply) -> None:
        agent = self._named(params)
        identity = show(agent.id)
        self._hosting.delete(agent, "it was killed", lambda: reply({"id": identity}), kill=True)

    def _logs(self, params: dict[str, Any], reply: Reply) -> None:
        after = _number(params, "after", 0, 2**63)
        wait = _number(params, "wait", 0.0, MAX_WAIT_S)
        agent = self._hosting.directory.tombstone(self._any(params))
        if agent is None:
            hosted = self._named(params)
            ring = self._book.ring(hosted.id)
            if ring.next <= after and wait > 0:
                self._follow(hosted.id, int(after), wait, reply)
                return
            reply({"lines": ring.since(int(after)), "next": ring.next, "ended": False})
            return
        ring = self._book.ring(agent.id)
        reply({"lines": ring.since(int(after)), "next": ring.next, "ended": True})

    def _any(self, params: dict[str, Any]) -> bytes:
        """The id of an agent that may have ended already."""
        text = params.get("agent")
        if isinstance(text, str) and len(text) == 32:
            try:
                return bytes.fromhex(text)
            except ValueError:
                pass
        return b""

    def _follow(self, agent: bytes, after: int, wait: float, reply: Reply) -> None:
        follower = _Follower(after, reply, self._loop.later(wait, lambda: self._flush(agent)))
        self._followers.setdefault(agent, []).append(follower)

    def _new_line(self, source: bytes | str) -> None:
        if isinstance(source, bytes) and source in self._followers:
            # A moment later, so that a burst of lines is one answer.
            self._loop.later(0.02, lambda: self._flush(source))

    def _flush(self, agent: bytes) -> None:
        for follower in self._followers.pop(agent, ()):
            follower.timer.cancel()
            ring = self._book.ring(agent)
            ended = self._hosting.directory.tombstone(agent) is not None
            follower.reply({"lines": ring.since(follower.after), "next": ring.next, "ended": ended})

    def _do_stop(self, _params: dict[str, Any], reply: Reply) -> None:
        reply({"stopping": True})
        self._stop()

    def _named(self, params: dict[str, Any]) -> Agent:
        text = params.get("agent")
        if not isinstance(text, str) or not text:
            raise ConfigError("name the agent: its name, its id, or the start of its id")
        return self._hosting.directory.find(text)


def _number(params: dict[str, Any], key: str, least: float, most: float) -> float:
    value: Any = params.get(key, least)
    if type(value) not in (int, float) or not least <= value <= most:
        raise ConfigError(f"{key} is a number from {least:g} to {most:g}, not {value!r}")
    return float(value)
