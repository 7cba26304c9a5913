"""Workers: starting them, giving them agents, noticing their deaths, replacing them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from agentd.config import ServerConfig
from agentd.protocol import Versions, pack
from agentd.protocol.messages import Drain, Enlist, Message
from agentd.server.confine import is_safe, secret_values, worker_limits
from agentd.server.launcher import DoorSettings, Exit, Launched, Launcher, WorkerSettings
from agentd.server.output import LineReader, OutputBook
from agentd.server.workers import Worker, least_loaded
from agentd.transport import local, recorder, rundir
from agentd.transport.counted import Counted
from agentd.transport.lines import by_route
from agentd.transport.localport import LocalPort
from agentd.transport.loop import Loop
from agentd.transport.unreachable import Unreachable

__all__ = ["EXIT_S", "Place", "Supervisor"]

log = logging.getLogger("agentd.server")

STABLE_S = 10.0
"""A worker that lived this long is replaced without delay: its death is not a crash loop."""
PASSED: Final = b"+"
"""What goes with descriptors, as nothing goes without a byte."""
EXIT_S = 1.0
"""How long a worker that was asked to end may run exit handlers (temporary files go there)."""
SPARED_S = 1.0
"""How long workers wait to be needed; by then whoever started the daemon has his first answer."""
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_NOTHING_LIMITED: Mapping[str, int] = MappingProxyType({})
TAIL_LINES = 40
"""Lines of standard error told to the callers of a crashed agent."""


@dataclass(slots=True, frozen=True)
class Place:
    """The folder and endpoints of this daemon."""

    folder: str
    public: str
    """Where clients find the daemon."""
    sockets: tuple[str, ...]
    code: int = -1
    door: DoorSettings | None = None
    """Both: see ``WorkerSettings``."""


class Supervisor:
    """Owns the workers. ``on_lost`` is called with each one that died, after it was reaped."""

    def __init__(
        self,
        config: ServerConfig,
        loop: Loop,
        launcher: Launcher,
        place: Place,
        book: OutputBook,
        on_lost: Callable[[Worker, Exit, set[bytes], str], None],
    ) -> None:
        self._config = config
        self._loop = loop
        self._launcher = launcher
        self._place = place
        self._book = book
        self._on_lost = on_lost
        self._numbers = itertools.count(1)
        self.workers: dict[str, Worker] = {}
        self.on_message: Callable[[Worker, list[Any]], None] = lambda _worker, _frames: None
        """Called with what a worker sends: the route, then the frames."""
        self._counted = Counted()
        """At the sockets of workers that are gone."""
        self.on_enlisted: Callable[[Worker], None] = lambda _worker: None
        """Called with each worker that is ready, before it is told anything else."""
        self.draining = False
        """Workers that die are not replaced any more."""
        self.stopping = False

    # -- the pool ----------------------------------------------------------------------------------
    def fill(self, at_once: int | None = None) -> None:
        """Start the pool: so many workers at once, the others when the first one is there.

        Or when they are needed; the first agent of a program then waits for nothing but its own
        worker.
        """
        for number in range(self._size):
            worker = self._make(dedicated=False)
            worker.spared = at_once is not None and number >= at_once
            if not worker.spared:
                self._start(worker)
        if at_once is not None:
            self._loop.later(SPARED_S, self._start_spared)

    def _start_spared(self) -> None:
        for worker in list(self.workers.values()):
            if worker.spared:
                self._start(worker)

    @cached_property
    def _size(self) -> int:
        return self._config.workers or os.cpu_count() or 1

    def _pool(self) -> list[Worker]:
        return [w for w in self.workers.values() if not w.dedicated and not w.ending]

    def choose(
        self,
        *,
        dedicated: bool,
        delay: float = 0.0,
        modules: Mapping[str, bytes] = _NOTHING,
        limits: Mapping[str, int] = _NOTHING_LIMITED,
    ) -> Worker:
        """The worker for a new agent: the least loaded, or one of its own, started for it.

        None gets an agent whose ``modules`` have other versions there: then there is a further
        worker, in the place of one without agents if there is such a one.
        """
        if dedicated:
            worker = self._make(dedicated=True)
            worker.limits = limits
            self._start_later(worker, delay)
            return worker
        worker = least_loaded(self.workers.values(), modules) or self._further(self._pool())
        if modules is not worker.came_last:
            worker.modules.update(modules)
            worker.came_last = modules
        if worker.spared:
            self._start(worker)
        return worker

    def _further(self, pool: list[Worker]) -> Worker:
        if len(pool) >= self._size:
            idle = next((w for w in pool if not w.agents), None)
            if idle is not None:
                self._end(idle)
        worker = self._make(dedicated=False)
        self._start(worker)
        return worker

    def tell(self, worker: Worker, message: Message, payload: list[Any]) -> None:
        """Send it a message, now or as soon as it has enlisted."""
        self.relay(worker, b"", pack(message, payload))

    def relay(self, worker: Worker, route: bytes, frames: list[Any]) -> None:
        """Send it frames with a route (see docs/protocol.md), now or once it has enlisted."""
        if worker.state != "ready":
            worker.outbox.append([route, *frames])
            return
        try:
            assert worker.channel is not None
            self._loop.send_soon(worker.channel, [route, *frames])
        except Unreachable:
            log.debug("worker %s is unreachable; its end will be noticed", worker.id)

    def enlist(self, worker: Worker, message: Enlist) -> None:
        """A worker reports for work; or, later, that its door to the network is shut."""
        if worker.state not in ("starting", "ready"):
            return
        if worker.state == "ready":  # nothing else is believed of one that runs agents' code
            worker.port, worker.key, worker.closed = 0, b"", message.closed
            self.on_enlisted(worker)
            return
        worker.state = "ready"
        worker.versions = Versions(1, message.agentd, message.python, message.dill)
        worker.port, worker.key, worker.closed = message.port, message.key, message.closed
        self.on_enlisted(worker)
        outbox, worker.outbox = worker.outbox, []
        for frames in outbox:
            self.relay(worker, frames[0], frames[1:])
        self._start_spared()
        log.info(
            "worker ready",
            extra={"action": "worker_ready", "worker": worker.id, "pid": message.pid},
        )

    def release(self, worker: Worker, agent: bytes) -> None:
        """The agent left; a worker of its own ends with it, and one too many with its last."""
        worker.agents.discard(agent)
        surplus = worker.dedicated or len(self._pool()) > self._size
        if surplus and not worker.agents and not worker.ending:
            self._end(worker)

    def counted(self) -> Counted:
        """What was counted at the sockets of all workers that there ever were."""
        found = self._counted
        for worker in self.workers.values():
            found = found.plus(recorder.counted(worker.recorder))
        return found

    # -- starting ----------------------------------------------------------------------------------
    def _make(self, *, dedicated: bool, failures: int = 0, restarts: int = 0) -> Worker:
        number = f"w{next(self._numbers)}"
        folder = self._place.folder
        worker = Worker(
            id=number,
            dedicated=dedicated,
            address=f"unix://{folder}/{number}.sock",
            recorder=f"{folder}/{number}.run",
            failures=failures,
            restarts=restarts,
        )
        self.workers[number] = worker
        self._book.open(number)
        return worker

    def _start_later(self, worker: Worker, delay: float) -> None:
        if delay <= 0:
            self._start(worker)
        else:
            self._loop.later(delay, lambda: self._start(worker))

    def _start(self, worker: Worker) -> None:
        worker.spared = False
        if worker.state != "waiting" or self.draining or self.stopping:
            return
        worker.started_at = self._loop.clock()
        try:
            process, channel = self._launch(worker)
        except OSError as error:
            # Out of processes, memory or descriptors: this passes, or it is the host's trouble.
            worker.failures += 1
            delay = self._backoff(worker.failures)
            log.error(  # noqa: TRY400 - the reason is in the line, the frames tell nothing
                "cannot start a worker: %s; next try in %.1f s",
                error.strerror or type(error).__name__,
                delay,
                extra={"action": "worker_start_failed", "worker": worker.id},
            )
            self._loop.later(delay, lambda: self._start(worker))
            return
        worker.state = "starting"
        worker.process = process
        worker.channel = channel
        self._loop.serve(channel, lambda frames: self.on_message(worker, frames), by_route)
        self._loop.watch(process.exit_fd, lambda: self._reap(worker))
        for stream, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            reader = LineReader(pipe.fileno(), worker.id, stream, self._book)
            worker.readers.append(reader)
            self._loop.watch(reader.fd, lambda reader=reader: self._read(reader))  # type: ignore[misc]

    def _launch(self, worker: Worker) -> tuple[Launched, LocalPort]:
        """Start its process, with its end of a connection and the socket it is to serve."""
        path = rundir.worker_path(worker.address)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of an attempt that failed
        mine, its, listener = self._launcher.door()
        with its, listener, contextlib.ExitStack() as opened:
            try:
                local.listen(path, listener)
                record = recorder.create(worker.recorder)
                opened.callback(os.close, record)
                settings = self._settings(worker, its.fileno(), listener, record)
                process = self._launcher.start(settings)
                socket.send_fds(mine, [PASSED], settings.passed)
                return process, LocalPort(mine)
            except BaseException:
                mine.close()
                raise

    def _settings(
        self, worker: Worker, back: int, listener: socket.socket, record: int
    ) -> WorkerSettings:
        limits = worker_limits(self._config, worker.limits)
        return WorkerSettings(
            worker=worker.id,
            back=back,
            listener=listener.fileno(),
            address=worker.address,
            daemon=self._place.public,
            recorder=record,
            folder=self._place.folder,
            sockets=self._place.sockets,
            path=self._config.path,
            parent=os.getpid(),
            owner=os.geteuid(),
            heartbeat_s=self._config.heartbeat_s,
            grace_s=self._config.client_grace_s,
            max_message_bytes=self._config.max_message_bytes,
            max_queued_bytes=self._config.max_queued_bytes,
            kept_bytes=self._config.kept_bytes,
            client_calls=self._config.client_calls,
            client_bytes=self._config.client_bytes,
            agent_calls=self._config.agent_calls,
            agent_bytes=self._config.agent_bytes,
            daemon_calls=self._config.daemon_calls,
            daemon_bytes=self._config.daemon_bytes,
            secrets=dict(self._config.secrets),
            secret_values=secret_values(self._config),
            limits=limits,
            safe=is_safe(self._config),
            code=self._place.code,
            # Strangers that knock would use up what an agent may.
            door=None if limits else self._place.door,
        )

    def _read(self, reader: LineReader) -> None:
        if not reader.read():
            self._loop.unwatch(reader.fd)

    # -- ending ------------------------------------------------------------------------------------
    def _reap(self, worker: Worker) -> None:
        process = worker.process
        exit_ = process.exited() if process is not None else None
        if process is None or exit_ is None:
            return
        process.kill()  # what it left behind in its process group
        self._loop.unwatch(process.exit_fd)
        for reader in worker.readers:
            self._loop.unwatch(reader.fd)
            reader.finish()
        process.close()
        assert worker.channel is not None
        self._loop.unserve(worker.channel)  # what it said before it died counts
        worker.channel.close()
        running = recorder.running(worker.recorder)
        self._counted = self._counted.plus(recorder.counted(worker.recorder))
        tail = self._book.ring(worker.id).tail(TAIL_LINES)
        self._forget(worker)
        lived = self._loop.clock() - worker.started_at
        facts = {"worker": worker.id, "pid": process.pid}
        if self.stopping or worker.ending:
            log.info("worker stopped", extra={"action": "worker_stopped", **facts})
        else:
            log.warning("worker ended: %s", exit_, extra={"action": "worker_lost", **facts})
        missing = not worker.dedicated and len(self._pool()) < self._size
        if missing and not self.draining and not self.stopping:
            worker.failures = 0 if lived > STABLE_S else worker.failures + 1
            heir = self._make(
                dedicated=False, failures=worker.failures, restarts=worker.restarts + 1
            )
            # One death costs nothing; only the ones that follow quickly wait.
            self._start_later(heir, self._backoff(worker.failures - 1))
        self._on_lost(worker, exit_, running, tail)

    def _forget(self, worker: Worker) -> None:
        worker.state = "dead"
        del self.workers[worker.id]
        self._book.forget(worker.id)
        for path in (rundir.worker_path(worker.address), worker.recorder):
            try:
                os.unlink(path)
            except OSError:
                pass

    def _backoff(self, failures: int) -> float:
        """0 for the first, then 0.1, 0.2, 0.4, … s up to the maximum."""
        if failures <= 0:
            return 0.0
        return min(
            self._config.worker_backoff_s * 2.0 ** (failures - 1), self._config.worker_backoff_max_s
        )

    def delay_for(self, deaths: int) -> float:
        """How long an agent that was charged ``deaths`` times waits for its next start."""
        return self._backoff(deaths - 1)

    def _end(self, worker: Worker) -> None:
        worker.ending = True
        if worker.process is None:
            self._forget(worker)
        else:
            worker.process.terminate()
            self._loop.later(EXIT_S, lambda: self.kill(worker))

    def drain(self, worker: Worker) -> None:
        """Tell it to finish what it has and take nothing new."""
        self.tell(worker, Drain(), [])

    def kill(self, worker: Worker) -> None:
        """End its process now; ``on_lost`` follows."""
        if worker.process is not None and worker.state != "dead":
            worker.process.kill()

    def end_all(self) -> None:
        """Have every worker end, within ``EXIT_S`` seconds; ``on_lost`` follows for each."""
        self.stopping = True
        for worker in list(self.workers.values()):
            self._end(worker)

    def kill_all(self) -> None:
        """End every worker now."""
        self.stopping = True
        for worker in self.workers.values():
            self.kill(worker)

    def wait_all(self, seconds: float) -> None:
        """Wait for the end of workers that were killed; for the end of the daemon only."""
        until = time.monotonic() + seconds
        for worker in self.workers.values():
            while worker.process is not None and worker.process.exited() is None:
                if time.monotonic() > until:
                    return
                time.sleep(0.005)
