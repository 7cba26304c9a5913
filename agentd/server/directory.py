"""Who lives where: the one owner of what the daemon knows about each agent."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agentd.errors import AgentCrashed, AgentError, AgentNotFound, NameTaken
from agentd.ids import HEX_ID, show
from agentd.printable import printable
from agentd.protocol.access import Subject
from agentd.protocol.messages import Create
from agentd.server.lifecycle import Event, State, after

__all__ = ["Agent", "Directory", "Tombstone"]

_NOTHING: Final[dict[Any, Any]] = {}
"""Of all that have none; never changed."""


def _nothing() -> dict[Any, Any]:
    return _NOTHING


@dataclass(slots=True, eq=False)
class Agent:
    """One agent, as the daemon sees it.

    There may be a hundred thousand of them: what most have not makes no object of its own.
    """

    id: bytes
    """16 bytes."""
    spec: Create
    """How it is made; may be that of several agents, and so lacks what is one's own."""
    payload: list[Any]
    """The sealed creation payload, kept to start the agent again; may be that of several, too."""
    owner: bytes
    """The session that made it."""
    created_at: float
    state: State = State.REQUESTED
    worker: str = ""
    epoch: int = 0
    restarts: int = 0
    charged: tuple[float, ...] = ()
    """When (monotonic seconds) it was charged with the death of a worker."""
    isolated: bool = False
    """It was running when its worker died, so it gets a worker of its own."""
    about: dict[str, Any] = field(default_factory=_nothing)
    fates: dict[int, AgentError] = field(default_factory=_nothing)
    """How its last epochs ended."""
    maker: str = ""
    """Who made it: an authenticated peer (see ``agentd.protocol.access``)."""

    @property
    def label(self) -> str:
        """How a person recognises it in a log line."""
        return self.spec.name or show(self.id)[:8]

    def happen(self, event: Event) -> None:
        """Move along the table; raises ``IllegalTransition``."""
        self.state = after(self.state, event)

    def remember_fate(self, epoch: int, fate: AgentError) -> None:
        """Keep how an epoch ended; the last eight are enough for callers still on their way."""
        self.fates = dict([*self.fates.items(), (epoch, fate)][-8:])

    def lose_fate(self, epoch: int) -> str:
        """It ends in that epoch for another reason than a death: which is returned."""
        fates = dict(self.fates)
        reason = fates.pop(epoch).message
        self.fates = fates
        return reason


@dataclass(slots=True, frozen=True)
class Tombstone:
    """What is left of an agent that ended."""

    id: bytes
    name: str | None
    cls: str
    reason: str
    ended_at: float
    fates: dict[int, AgentError]
    failure: tuple[str, dict[str, Any], str, tuple[Any, ...]] | None
    """For one that could not be built: message, facts, codec and payload of the exception."""
    maker: str = ""

    def error(self) -> AgentNotFound:
        """What a caller is told."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.ended_at))
        label = self.name or show(self.id)[:8]
        return AgentNotFound(
            f"agent {label} ({self.cls}) ended at {when}: {self.reason}",
            agent=show(self.id),
            name=self.name,
            reason=self.reason,
            ended_at=self.ended_at,
        )


class Directory:
    """All agents and the last ``tombstones`` that ended."""

    def __init__(self, tombstones: int) -> None:
        self._agents: dict[bytes, Agent] = {}
        self._names: dict[str, bytes] = {}
        self._owned: dict[bytes, set[bytes]] = {}
        self._children: dict[bytes, set[bytes]] = {}
        self._ended: OrderedDict[bytes, Tombstone] = OrderedDict()
        self._limit = tombstones

    def __len__(self) -> int:
        return len(self._agents)

    def __contains__(self, agent: object) -> bool:
        return agent in self._agents

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def add(self, agent: Agent) -> None:
        """Take a new agent; raises ``NameTaken``, or ``AgentError`` for an id in use."""
        name = agent.spec.name
        if agent.id in self._agents or agent.id in self._ended:
            raise AgentError("an agent with that id exists or existed", agent=show(agent.id))
        if name is not None:
            taken = self._names.get(name)
            if taken is not None:
                raise NameTaken(
                    f"an agent named {name!r} ({self._agents[taken].spec.cls}) exists already; "
                    "choose another name, or pass get_if_exists=True to use that one",
                    agent=show(taken),
                    name=name,
                )
            self._names[name] = agent.id
        self._agents[agent.id] = agent
        self._owned.setdefault(agent.owner, set()).add(agent.id)
        if agent.spec.parent is not None:
            self._children.setdefault(agent.spec.parent, set()).add(agent.id)

    def is_known(self, agent: bytes, owner: bytes) -> bool:
        """Whether the owner made an agent of that id, or one of that id has ended."""
        found = self._agents.get(agent)
        return found.owner == owner if found is not None else agent in self._ended

    def get(self, agent: bytes) -> Agent:
        """By id; raises ``AgentNotFound`` that tells when and why it ended."""
        found = self._agents.get(agent)
        if found is None:
            raise self._not_found(agent)
        return found

    def subject(self, agent: bytes) -> Subject:
        """What decides who may deal with it; of one that is not known, the id alone."""
        found = self._agents.get(agent)
        if found is not None:
            return Subject(show(agent), found.spec.name or "", found.maker)
        tomb = self._ended.get(agent)
        if tomb is not None:
            return Subject(show(agent), tomb.name or "", tomb.maker)
        return Subject(show(agent))

    def subject_of_text(self, text: str) -> Subject:
        """The same by name, id in hex, or the start of it; of an unknown one, the text as name."""
        try:
            return self.subject(self.find(text).id)
        except AgentNotFound as error:
            if error.agent:
                return self.subject(bytes.fromhex(error.agent))
            return Subject(name=text)

    def named(self, name: str) -> Agent | None:
        """By exact name."""
        agent = self._names.get(name)
        return None if agent is None else self._agents[agent]

    def find(self, text: str) -> Agent:
        """By name, full id in hex, or a unique prefix of it (4 characters or more)."""
        by_name = self.named(text)
        if by_name is not None:
            return by_name
        if HEX_ID.match(text):
            if len(text) == 32:
                return self.get(bytes.fromhex(text))
            hits = [a for a in self._agents.values() if show(a.id).startswith(text)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                raise AgentNotFound(
                    f"{len(hits)} agents have an id that starts with {text}; write more of it"
                )
        for tomb in reversed(self._ended.values()):
            if tomb.name == text or (len(text) >= 4 and show(tomb.id).startswith(text)):
                raise tomb.error()
        raise AgentNotFound(
            f"there is no agent {text!r} here; `agentctl agents` lists them", name=text
        )

    def label(self, agent: bytes) -> str:
        """How a person recognises it: its class, and its name or the start of its id."""
        holder = self._agents.get(agent)
        spec = holder.spec if holder else None
        cls = spec.cls.rpartition(":")[2] if spec else "agent"
        return f"{cls} {spec.name if spec and spec.name else show(agent)[:8]}"

    def tombstone(self, agent: bytes) -> Tombstone | None:
        """What is left of it, if it ended not too long ago."""
        return self._ended.get(agent)

    def fate(self, agent: bytes, epoch: int) -> AgentError | None:
        """How that epoch ended, if it did."""
        holder = self._agents.get(agent) or self._ended.get(agent)
        if holder is None:
            return self._not_found(agent)
        if epoch in holder.fates:
            return holder.fates[epoch]
        return holder.error() if isinstance(holder, Tombstone) else None

    def remove(
        self,
        agent: Agent,
        reason: str,
        failure: tuple[str, dict[str, Any], str, tuple[Any, ...]] | None = None,
    ) -> Tombstone:
        """Bury it."""
        del self._agents[agent.id]
        if agent.spec.name is not None:
            del self._names[agent.spec.name]
        self._discard(self._owned, agent.owner, agent.id)
        if agent.spec.parent is not None:
            self._discard(self._children, agent.spec.parent, agent.id)
        spec = agent.spec
        tomb = Tombstone(
            agent.id,
            spec.name,
            spec.cls,
            reason,
            time.time(),
            agent.fates,
            failure,
            agent.maker,
        )
        self._ended[agent.id] = tomb
        while len(self._ended) > self._limit:
            self._ended.popitem(last=False)
        return tomb

    def owned_by(self, session: bytes) -> list[Agent]:
        """The agents with ``lifetime="client"`` of a session."""
        return self._bound(self._owned.get(session, ()))

    def children_of(self, agent: bytes) -> list[Agent]:
        """The agents with ``lifetime="client"`` that an agent made."""
        return self._bound(self._children.get(agent, ()))

    def _bound(self, ids: Any) -> list[Agent]:
        agents = [self._agents[i] for i in ids]
        return [a for a in agents if a.spec.lifetime == "client"]

    def _not_found(self, agent: bytes) -> AgentNotFound:
        tomb = self._ended.get(agent)
        if tomb is not None:
            return tomb.error()
        return AgentNotFound(
            f"agent {show(agent)[:8]} is not known here: it ended long ago, or the daemon was "
            "restarted since it was made",
            agent=show(agent),
            reason="unknown",
        )

    @staticmethod
    def _discard(index: dict[bytes, set[bytes]], key: bytes, agent: bytes) -> None:
        members = index.get(key)
        if members is not None:
            members.discard(agent)
            if not members:
                del index[key]


def crashed(agent: Agent, facts: dict[str, Any], why: str = "") -> AgentCrashed:
    """The fate of an agent whose worker died; ``facts`` tell how, ``why`` what is known of it."""
    how = facts.get("signal") or f"exit code {facts.get('exit_code')}"
    tail = printable(facts.get("stderr_tail") or "", keep="\n\t")
    last = f"; its last words:\n{tail}" if tail else ""
    return AgentCrashed(
        f"the worker that hosted agent {agent.label} ({agent.spec.cls}) died ({how}) "
        f"during the call{': ' + why if why else ''}{last}",
        agent=show(agent.id),
        name=agent.spec.name,
        **facts,
    )
