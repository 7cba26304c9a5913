"""A loop without time, workers without processes."""

import os
from pathlib import Path
from typing import Any

from agentd.config import ServerConfig
from agentd.protocol import unpack
from agentd.protocol.messages import Create, Enlist
from agentd.server.codestore import CodeStore
from agentd.server.directory import Directory
from agentd.server.hosting import Hosting
from agentd.server.launcher import Exit
from agentd.server.output import OutputBook
from agentd.server.spawning import new_door
from agentd.server.supervisor import Place, Supervisor
from agentd.transport.loop import Timer
from agentd.transport.recorder import SLOT


class FakeLoop:
    """Time passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Timer]] = []
        self.watched: dict[int, Any] = {}
        self.served: list[Any] = []
        self.sent: list[tuple[Any, list[Any]]] = []
        self.behind: list[Any] = []

    def is_behind(self, port: Any) -> bool:
        return port in self.behind

    def clock(self) -> float:
        return self.now

    def later(self, seconds: float, action: Any) -> Timer:
        timer = Timer(action)
        self.timers.append((self.now + seconds, timer))
        return timer

    def watch(self, fd: int, action: Any) -> None:
        self.watched[fd] = action

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def serve(self, port: Any, _deliver: Any, _whose: Any = None) -> None:
        self.served.append(port)

    def unserve(self, port: Any) -> None:
        self.served.remove(port)

    def send(self, port: Any, frames: list[Any]) -> None:
        self.sent.append((port, frames))

    send_soon = send

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [t for t in self.timers if t[0] <= until]:
            first = min(due, key=lambda t: t[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            if not first[1].cancelled:
                first[1].action()
        self.now = until

    def told(self, worker: Any) -> list[Any]:
        """The messages sent to a worker."""
        return [unpack(frames[1:]) for port, frames in self.sent if port is worker.channel]


class FakeProcess:
    """A worker that ends when told to."""

    def __init__(self, settings: Any, pid: int) -> None:
        self.settings = settings
        self.pid = pid
        self.exit: Exit | None = None
        self.killed = self.asked = self.closed = False
        self.exit_fd, self._exit_end = os.pipe()
        out, self.out_end = os.pipe()
        err, self.err_end = os.pipe()
        for fd in (out, err):
            os.set_blocking(fd, False)
        self.stdout, self.stderr = os.fdopen(out, "rb"), os.fdopen(err, "rb")

    def exited(self) -> Exit | None:
        return self.exit

    def terminate(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        for fd in (self.exit_fd, self._exit_end, self.out_end, self.err_end):
            os.close(fd)
        self.stdout.close()
        self.stderr.close()


class FakeLauncher:
    """Starts fakes; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.started: list[FakeProcess] = []
        self.broken: OSError | None = None

    def door(self) -> Any:
        return new_door()

    def start(self, settings: Any) -> FakeProcess:
        if self.broken is not None:
            raise self.broken
        self.started.append(FakeProcess(settings, 100 + len(self.started)))
        return self.started[-1]


class World:
    """Hosting and supervisor of a daemon, without its sockets and processes."""

    def __init__(self, folder: Any, **settings: Any) -> None:
        self.config = ServerConfig(**{"workers": 2, **settings})
        self.loop = FakeLoop()
        self.launcher = FakeLauncher()
        self.directory = Directory(self.config.tombstones)
        self.book = OutputBook(100, None, self.directory)
        loop: Any = self.loop
        self.store = CodeStore(f"{folder}/code", loop.later)
        self.hosting = Hosting(self.config, loop, self.directory, self.book, self.store)
        place = Place(str(folder), "ipc:///front", ("/front",))
        self.supervisor = Supervisor(
            self.config, loop, self.launcher, place, self.book, self.hosting.worker_lost
        )
        self.hosting.supervisor = self.supervisor
        self.folder = folder
        self.supervisor.fill()

    @property
    def pool(self) -> list[Any]:
        return [w for w in self.supervisor.workers.values() if not w.dedicated]

    @property
    def own(self) -> list[Any]:
        return [w for w in self.supervisor.workers.values() if w.dedicated]

    def enlist(self, worker: Any) -> None:
        self.supervisor.enlist(worker, Enlist(worker.id, 1, worker.address, "0", "3"))

    def enlist_all(self) -> None:
        for worker in list(self.supervisor.workers.values()):
            if worker.state == "starting":
                self.enlist(worker)

    def worker_of(self, agent: Any) -> Any:
        return self.supervisor.workers[agent.worker]

    def die(self, worker: Any, *running: bytes, code: int | None = None) -> None:
        """The worker ends; ``running`` is what its record says."""
        with Path(worker.recorder).open("r+b") as record:
            record.write(b"".join(running).ljust(SLOT * 8, b"\0"))
        worker.process.exit = Exit(code, None if code is not None else "SIGKILL")
        self.loop.watched[worker.process.exit_fd]()

    def create(self, number: int, **options: Any) -> Any:
        spec = Create(number, bytes([number]) * 16, "m:C", "spec", "data", **options)
        return self.hosting.create(spec, [b"payload"], b"s" * 16)[0]

    def ready(self, agent: Any) -> Any:
        from agentd.protocol.messages import Started

        worker = self.worker_of(agent)
        self.hosting.started(worker, Started(agent.id, agent.epoch, 1, {"methods": {}}))
        return agent

    def close(self) -> None:
        for process in self.launcher.started:
            if not process.closed:
                process.close()
        for port in self.loop.served:
            port.close()
