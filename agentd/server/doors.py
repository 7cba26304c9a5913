"""Workers' own doors to the network: which there may be, who may come, and what clients are told.

A worker opens its door itself (``transport/door.py``), with keys that it made: the daemon's secret
is in no process that runs agents. The daemon tells it who may come, all of it, at the start and at
each change, and tells clients that came over TCP where it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentd.config import ServerConfig, ports_of
from agentd.errors import ConfigError
from agentd.keys.book import GrantBook
from agentd.keys.reading import Reading
from agentd.protocol.admission import write_admission
from agentd.protocol.messages import Admit, Ready
from agentd.server.launcher import DoorSettings
from agentd.server.supervisor import Supervisor
from agentd.server.workers import Worker

if TYPE_CHECKING:
    from agentd.transport.endpoint import TcpEndpoint

__all__ = ["Doors", "door_settings"]

log = logging.getLogger("agentd.server")


def door_settings(config: ServerConfig, tcp: Sequence[TcpEndpoint]) -> DoorSettings | None:
    """What workers are told of the network; ``None``: nothing.

    ``tcp``: where the daemon listens there. Raises ``ConfigError`` for a range that cannot do.
    """
    ports = ports_of(config.worker_ports)
    if ports is None:
        return None
    if not tcp:
        log.warning(
            "worker_ports is of no use without TCP: see bind", extra={"action": "ports_unused"}
        )
        return None
    _check(ports, config.workers or os.cpu_count() or 1, tcp)
    return DoorSettings(
        tuple(dict.fromkeys(endpoint.host for endpoint in tcp)),
        ports,
        config.handshake_s,
        config.max_connections,
        config.max_malformed,
        config.max_header_bytes,
        config.max_frames,
        config.max_header_depth,
        config.max_header_items,
    )


def _check(ports: tuple[int, int], workers: int, tcp: Sequence[TcpEndpoint]) -> None:
    low, high = ports
    if high - low + 1 < workers:
        raise ConfigError(
            f"worker_ports = {low}-{high} has {high - low + 1} ports for {workers} workers; agents "
            "with a worker of their own need some more",
            key="worker_ports",
        )
    for endpoint in tcp:
        if low <= endpoint.port <= high:  # a worker, which is there first, might take it
            raise ConfigError(
                f"worker_ports = {low}-{high} has the port of {endpoint} in it",
                key="worker_ports",
            )


class Doors:
    """Those of all workers. In the loop's thread."""

    def __init__(self, supervisor: Supervisor, book: GrantBook) -> None:
        self._supervisor = supervisor
        self._book = book
        self._told: Reading | None = None
        self._packed = b""
        supervisor.on_enlisted = self._enlisted

    def _enlisted(self, worker: Worker) -> None:
        if worker.port:
            self._tell(worker)
        elif worker.closed:
            log.warning(
                "worker %s is not on the network (%s): calls over TCP of its agents are relayed",
                worker.id,
                worker.closed,
                extra={"action": "door_closed", "worker": worker.id},
            )

    def changed(self) -> None:
        """The grants have."""
        for worker in self._supervisor.workers.values():
            if worker.port and worker.state == "ready":
                self._tell(worker)

    def _tell(self, worker: Worker) -> None:
        reading = self._book.reading
        if reading is not self._told:
            self._told = reading
            self._packed = write_admission(reading.grants, reading.keys)
        self._supervisor.tell(worker, Admit(), [self._packed])

    def told(self, ready: Ready) -> Ready:
        """The same answer, for a client that came over TCP."""
        worker = self._supervisor.workers.get(ready.worker)
        if worker is None or not worker.port:
            return ready
        return ready.changed(port=worker.port, key=worker.key)
