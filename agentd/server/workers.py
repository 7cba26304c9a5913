"""What a daemon knows of each worker process, and which one gets the next agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentd.protocol import Versions
from agentd.protocol.descriptions import Heard
from agentd.server.launcher import Launched
from agentd.server.output import LineReader
from agentd.transport.localport import LocalPort

__all__ = ["Worker", "least_loaded"]


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process, from before it is started until it is gone."""

    id: str
    dedicated: bool
    address: str
    recorder: str
    failures: int = 0
    """Deaths in quick succession in this place, its predecessors' included."""
    state: str = "waiting"
    """``waiting`` (to be started), ``starting``, ``ready``, ``dead``."""
    agents: set[bytes] = field(default_factory=set)
    process: Launched | None = None
    channel: LocalPort | None = None
    """The connection to it, which nobody else can reach."""
    versions: Versions | None = None
    port: int = 0
    """Where it is reached over the network, and the public key that it has there; 0: it is not."""
    key: bytes = b""
    closed: str = ""
    """Why it is not, though it was to be."""
    outbox: list[list[Any]] = field(default_factory=list)
    """What it will be told once it has enlisted."""
    started_at: float = 0.0
    readers: list[LineReader] = field(default_factory=list)
    restarts: int = 0
    drained: bool = False
    spared: bool = False
    """It waits because nobody has needed it yet."""
    ending: bool = False
    """It was told to end; its death is no news."""
    modules: dict[str, bytes] = field(default_factory=dict)
    """Modules that came along with its agents, by name: the SHA-256 of their sources. A process
    can have one version of each."""
    came_last: Mapping[str, bytes] | None = None
    """Those of its last agent: most bring the same ones."""
    heard: Heard = field(default_factory=Heard)
    """What the classes of its agents offer."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Of the one agent that it was made for; see ``server/confine.py``."""

    def takes(self, modules: Mapping[str, bytes]) -> bool:
        """Whether an agent with these modules can live here."""
        if modules is self.came_last:
            return True
        return all(self.modules.get(name, digest) == digest for name, digest in modules.items())


def least_loaded(workers: Iterable[Worker], modules: Mapping[str, bytes]) -> Worker | None:
    """Of those of the pool the one for a new agent with these modules; ``None``: none takes it."""
    best: Worker | None = None
    for worker in workers:
        if worker.dedicated or worker.ending or not worker.takes(modules):
            continue
        if best is None or _load(worker) < _load(best):
            best = worker
    return best


def _load(worker: Worker) -> tuple[bool, int, int]:
    """Less of it is better. One that waits after a crash would make a new agent wait, too."""
    return worker.state == "waiting" and not worker.spared, len(worker.agents), worker.failures
