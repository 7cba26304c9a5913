"""Hosting agents: the decisions between a request and a worker, and their consequences.

The router turns frames into calls of ``Hosting``; ``Hosting`` moves agents along the lifecycle
table, tells the supervisor what to start or drop, and answers those who wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from agentd.config import ServerConfig
from agentd.errors import (
    AgentCrashed,
    AgentCreationError,
    AgentdError,
    AgentError,
    AgentNotFound,
    ConfigError,
    ConnectionLost,
    Draining,
    NameTaken,
    Overloaded,
)
from agentd.ids import show
from agentd.protocol.messages import Create, Drop, Ready, Start, Started, StartFailed
from agentd.server.alike import Alike
from agentd.server.codestore import CodeStore
from agentd.server.confine import are_limits, over_limit
from agentd.server.directory import Agent, Directory, Tombstone, crashed
from agentd.server.launcher import Exit
from agentd.server.lifecycle import Event, State
from agentd.server.output import OutputBook
from agentd.server.supervisor import Supervisor
from agentd.server.workers import Worker
from agentd.transport.loop import Loop

__all__ = ["Hosting", "Settled"]

log = logging.getLogger("agentd.server")

Settled = Callable[[Ready | AgentdError, list[Any]], None]
"""Called once: with where the agent is, or with why it is nowhere (and the original exception's
payload)."""

FATE_WAIT_S = 2.0
"""How long a lost connection may precede the news of the worker's death. The kernel closes
a process's sockets before its pidfd is readable, a core dump may lie between."""

KILL_S = 2.0
"""How long a worker may take to let go of a killed agent; one whose loop is stuck is killed."""


class Hosting:
    """All that happens to agents."""

    supervisor: Supervisor
    """Set right after both are made: each calls the other."""

    def __init__(
        self,
        config: ServerConfig,
        loop: Loop,
        directory: Directory,
        book: OutputBook,
        store: CodeStore,
    ) -> None:
        self._config = config
        self._loop = loop
        self.directory = directory
        self._book = book
        self.store = store
        self._waiting: dict[bytes, list[Settled]] = {}
        self._alike = Alike()
        self._fates: dict[tuple[bytes, int], list[Callable[[AgentError], None]]] = {}
        self._endings: dict[bytes, list[Callable[[], None]]] = {}
        self.draining = False
        self.on_worker_lost: Callable[[Worker], None] = lambda _worker: None
        self.on_ended: Callable[[bytes], None] = lambda _agent: None

    # -- creating ----------------------------------------------------------------------------------
    def create(
        self, spec: Create, payload: list[Any], owner: bytes, maker: str = ""
    ) -> tuple[Agent, bool]:
        """Take an agent; True if it is an existing one of that name. Raises typed errors.

        ``owner``: the session, ``maker``: the authenticated peer that it is of.
        """
        if self.draining:
            raise Draining("the daemon is stopping and takes no new agents")
        _check(spec)
        if spec.name is not None and spec.get_if_exists:
            found = self.directory.named(spec.name)
            if found is not None:
                if found.spec.cls != spec.cls:
                    raise NameTaken(
                        f"the agent named {spec.name!r} is a {found.spec.cls}, not a {spec.cls}",
                        agent=show(found.id),
                        name=spec.name,
                    )
                return found, True
        if len(self.directory) >= self._config.max_agents:
            raise Overloaded(
                f"the daemon has {len(self.directory):,} agents; max_agents = "
                f"{self._config.max_agents:,}. Delete some that are not needed",
                limit=self._config.max_agents,
                retry_after=1.0,
                setting="max_agents",
            )
        code = self.store.get(spec.code) if spec.code else None
        kept, content = self._alike.made(spec, payload)
        agent = Agent(spec.agent, kept, content, owner, time.time(), maker=maker)
        self.directory.add(agent)
        if code is not None:
            code.users += 1
        if code is None or code.complete:
            self._assign(agent)
        else:
            self.store.when_complete(code, lambda error: self._have_code(agent, error))
        return agent, False

    def _have_code(self, agent: Agent, error: AgentdError | None) -> None:
        if agent.state is not State.REQUESTED:
            return  # it was ended meanwhile
        if error is None:
            self._assign(agent)
            return
        agent.happen(Event.STOP_REQUESTED)
        facts = {"type_name": error.code, "message": error.message}
        self._bury(agent, error.message, (f"{error.code}: {error.message}", facts, "", ()))

    def _assign(self, agent: Agent, delay: float = 0.0) -> None:
        limits = agent.spec.options.get("limits") or {}
        own = agent.isolated or agent.spec.placement == "dedicated" or bool(limits)
        code = self.store.get(agent.spec.code) if agent.spec.code else None
        modules = {} if code is None else code.modules
        worker = self.supervisor.choose(dedicated=own, delay=delay, modules=modules, limits=limits)
        agent.happen(Event.WORKER_ASSIGNED)
        agent.epoch += 1
        agent.worker = worker.id
        worker.agents.add(agent.id)
        spec = agent.spec
        start = Start(
            agent.id,
            agent.epoch,
            spec.cls,
            spec.mode,
            spec.codec,
            spec.name,
            spec.options,
            spec.needs,
            spec.code,
            spec.by,
            spec.plain,
            agent.maker,
        )
        self.supervisor.tell(worker, start, agent.payload)

    def started(self, worker: Worker, message: Started) -> None:
        """A worker built the agent."""
        about = worker.heard.hear(message.number, message.about)
        agent = self._current(worker, message.agent, message.epoch)
        if agent is None:
            return
        agent.happen(Event.STARTED)
        if agent.state is not State.READY:
            return
        agent.about = self._alike.about(agent.spec.cls, about)
        if log.isEnabledFor(logging.INFO):
            log.info("agent ready", extra={"action": "agent_ready", **_facts(agent)})
        ready = self._ready(agent, worker)
        for settled in self._waiting.pop(agent.id, ()):
            settled(ready, [])

    def start_failed(self, worker: Worker, message: StartFailed, payload: list[Any]) -> None:
        """A worker could not build it: its ``__init__`` raised, or the payload cannot be read."""
        agent = self._current(worker, message.agent, message.epoch)
        if agent is None:
            return
        stopping = agent.state is State.STOPPING
        agent.happen(Event.START_FAILED)
        if stopping:
            return
        kind = message.facts.get("type_name", "an exception")
        for line in str(message.facts.get("traceback", "")).splitlines():
            self._book.note(agent.id, "stderr", line)
        # The type, never the text: it may quote arguments.
        log.warning(
            "agent failed to start: %s", kind, extra={"action": "agent_failed", **_facts(agent)}
        )
        failure = (message.message, message.facts, message.codec, tuple(payload))
        self._bury(agent, f"its creation failed with {kind}", failure)

    def _current(self, worker: Worker, agent_id: bytes, epoch: int) -> Agent | None:
        """The agent a worker reports of, unless the report is about an earlier epoch."""
        try:
            agent = self.directory.get(agent_id)
        except AgentNotFound:
            return None
        return agent if agent.epoch == epoch and agent.worker == worker.id else None

    def _ready(self, agent: Agent, worker: Worker) -> Ready:
        return Ready(
            0,
            agent.id,
            agent.spec.cls,
            worker.id,
            worker.address,
            agent.epoch,
            agent.about,
            agent.spec.name,
        )

    # -- finding -----------------------------------------------------------------------------------
    def when_settled(self, agent_id: bytes, settled: Settled) -> None:
        """Call back when the agent is ready, or known to never be: at once if it is known."""
        tomb = self.directory.tombstone(agent_id)
        if tomb is not None and tomb.failure is not None:
            settled(creation_error(tomb), list(tomb.failure[3]))
            return
        try:
            agent = self.directory.get(agent_id)
        except AgentNotFound as error:
            settled(error, [])
            return
        if agent.state is State.READY:
            settled(self._ready(agent, self.supervisor.workers[agent.worker]), [])
        else:
            self._waiting.setdefault(agent_id, []).append(settled)

    def when_fate_known(
        self, agent_id: bytes, epoch: int, tell: Callable[[AgentError], None]
    ) -> None:
        """Call back with how that epoch ended; with ``ConnectionLost`` if it did not."""
        fate = self.directory.fate(agent_id, epoch)
        if fate is not None:
            tell(fate)
            return
        key = (agent_id, epoch)
        self._fates.setdefault(key, []).append(tell)
        if len(self._fates[key]) == 1:
            self._loop.later(FATE_WAIT_S, lambda: self._fate_unknown(key))

    def _fate_unknown(self, key: tuple[bytes, int]) -> None:
        lost: Any = ConnectionLost(
            f"the connection to the worker of agent {show(key[0])[:8]} broke, though the worker "
            "still runs; whether the call ran is not known"
        )
        for tell in self._fates.pop(key, ()):
            tell(lost)

    # -- ending ------------------------------------------------------------------------------------
    def delete(
        self,
        agent: Agent,
        reason: str,
        then: Callable[[], None] = lambda: None,
        *,
        kill: bool = False,
    ) -> None:
        """End it; ``then`` is called when it is gone from its worker.

        ``kill``: the calls that run are given up, too.
        """
        if agent.state in (State.REQUESTED, State.RESTARTING):
            agent.happen(Event.STOP_REQUESTED)
            self._bury(agent, reason)
            then()
            return
        self._endings.setdefault(agent.id, []).append(then)
        if agent.state in (State.STOPPING, State.ENDED):
            return
        agent.happen(Event.STOP_REQUESTED)
        worker = self.supervisor.workers[agent.worker]
        self.supervisor.tell(worker, Drop(agent.id, agent.epoch, reason, kill), [])
        if worker.state != "ready":  # nothing runs yet, and it may be long until something does
            agent.happen(Event.STOPPED)
            self._bury(agent, reason)
            return
        agent.remember_fate(agent.epoch, AgentNotFound(reason))  # the reason, until it is buried
        if kill:
            self._loop.later(KILL_S, lambda: self._insist(agent, worker))

    def _insist(self, agent: Agent, worker: Worker) -> None:
        """The worker did not let go of a killed agent: its loop is stuck, it is of no use."""
        if agent.state is State.STOPPING and agent.worker == worker.id:
            self.supervisor.kill(worker)

    def dropped(self, worker: Worker, agent_id: bytes, epoch: int) -> None:
        """A worker let go of it."""
        agent = self._current(worker, agent_id, epoch)
        if agent is not None and agent.state is State.STOPPING:
            agent.happen(Event.STOPPED)
            self._bury(agent, agent.lose_fate(epoch))

    def _bury(
        self,
        agent: Agent,
        reason: str,
        failure: tuple[str, dict[str, Any], str, tuple[Any, ...]] | None = None,
    ) -> None:
        children = self.directory.children_of(agent.id)
        tomb = self.directory.remove(agent, reason, failure)
        worker = self.supervisor.workers.get(agent.worker)
        if worker is not None:
            self.supervisor.release(worker, agent.id)
        self.store.forget_user(agent.spec.code)
        if failure is None:
            log.info("agent ended: %s", reason, extra={"action": "agent_ended", **_facts(agent)})
        self.on_ended(agent.id)
        self._book.retire(agent.id)
        if waiting := self._waiting.pop(agent.id, None):
            error: AgentdError = tomb.error() if failure is None else creation_error(tomb)
            for settled in waiting:
                settled(error, [] if failure is None else list(failure[3]))
        for epoch in range(1, agent.epoch + 1):
            for tell in self._fates.pop((agent.id, epoch), ()):
                tell(tomb.fates.get(epoch) or tomb.error())
        for then in self._endings.pop(agent.id, ()):
            then()
        for child in children:
            self.delete(child, f"the agent that made it ({agent.label}) ended")

    def worker_lost(self, worker: Worker, exit_: Exit, running: set[bytes], tail: str) -> None:
        """A worker died: tell callers, start its agents again, charge those that were running."""
        facts = {
            "exit_code": exit_.code,
            "signal": exit_.signal,
            "worker": worker.id,
        }
        never_ran = worker.versions is None
        lost = [self.directory.get(agent_id) for agent_id in sorted(worker.agents)]
        worker.agents.clear()
        fates: list[tuple[Agent, AgentCrashed]] = []
        buried: list[Agent] = []
        # One round after the other: burying an agent ends those it made, which may have died in
        # the same worker and must be known as dead by then.
        for agent in lost:
            own = self._book.ring(agent.id).tail(20)
            last = "\n".join(text for text in (own, tail) if text)
            over = over_limit(exit_.signal, agent.spec.options.get("limits") or {})
            fate = crashed(agent, {**facts, "stderr_tail": last}, over)
            if agent.state is State.STOPPING:
                buried.append(agent)
            else:
                fates.append((agent, fate))
                agent.remember_fate(agent.epoch, fate)
            agent.happen(Event.WORKER_LOST)
        for agent in buried:
            self._bury(agent, agent.lose_fate(agent.epoch))
        for agent, fate in fates:
            for tell in self._fates.pop((agent.id, agent.epoch), ()):
                tell(fate)
            if agent.state is State.RESTARTING and not self.draining:
                # A worker that could not even start is nobody's fault, but not tried for ever.
                agent.isolated = agent.isolated or agent.id in running
                self._restart(agent, fate, charged=agent.id in running or never_ran)
        self.on_worker_lost(worker)

    def _restart(self, agent: Agent, fate: AgentCrashed, *, charged: bool) -> None:
        now = self._loop.clock()
        if charged:
            since = now - self._config.restart_window_s
            agent.charged = (*(at for at in agent.charged if at >= since), now)
        deaths = len(agent.charged)
        if deaths > self._config.restart_limit:
            agent.happen(Event.BUDGET_SPENT)
            how = fate.signal or f"exit code {fate.exit_code}"
            log.error(
                "agent given up: its worker died %d times in %g s",
                deaths,
                self._config.restart_window_s,
                extra={"action": "agent_given_up", **_facts(agent)},
            )
            self._bury(
                agent,
                f"its worker died {deaths} times within {self._config.restart_window_s:g} s "
                f"(last: {how}), which is over its restart limit of {self._config.restart_limit}",
            )
            return
        agent.restarts += 1
        log.warning("agent restarts", extra={"action": "agent_restarts", **_facts(agent)})
        self._assign(agent, self.supervisor.delay_for(deaths) if charged else 0.0)


def creation_error(tomb: Tombstone) -> AgentCreationError:
    """What those are told who use an agent that could not be built."""
    assert tomb.failure is not None
    message, facts, codec, _payload = tomb.failure
    return AgentCreationError(
        f"{tomb.cls} could not be created: {message}",
        agent=show(tomb.id),
        name=tomb.name,
        cls=tomb.cls,
        codec=codec,
        cause=facts,
    )


def _check(spec: Create) -> None:
    if spec.code and len(spec.code) != 32:
        raise ConfigError("an agent's code is named by 32 bytes")
    if len(spec.agent) != 16:
        raise ConfigError("an agent's id has 16 bytes")
    if not (0 < len(spec.cls) <= 1000 and spec.cls.isprintable()):
        raise ConfigError("the name of a class has 1 to 1,000 printable characters")
    if spec.mode not in ("spec", "live", "registered"):
        raise ConfigError(f"mode is spec, live or registered, not {spec.mode!r}")
    if spec.lifetime not in ("client", "daemon"):
        raise ConfigError(f"lifetime is client or daemon, not {spec.lifetime!r}")
    if spec.placement not in ("shared", "dedicated"):
        raise ConfigError(f"worker is shared or dedicated, not {spec.placement!r}")
    _check_turns(spec.options)
    name = spec.name
    if name is not None and not (0 < len(name) <= 200 and name.isprintable()):
        raise ConfigError("a name has 1 to 200 printable characters")


def _check_turns(options: dict[str, Any]) -> None:
    """How an agent's calls take turns; see ``DistConf``."""
    for key, value in options.items():
        right = {
            "max_concurrency": type(value) is int and 1 <= value <= 100_000,
            "mailbox": type(value) is int and 1 <= value <= 10_000_000,
            "reentrant": type(value) is bool,
            "busy": value in ("queue", "reject", "interrupt"),
            "limits": are_limits(value),
        }.get(key)
        if right is None:
            raise ConfigError(f"an agent has no option {key!r}")
        if not right:
            raise ConfigError(f"{key} cannot be {value!r}")


def _facts(agent: Agent) -> dict[str, Any]:
    return {
        "agent": show(agent.id),
        "agent_name": agent.spec.name,
        "cls": agent.spec.cls,
        "worker": agent.worker,
        "epoch": agent.epoch,
    }
