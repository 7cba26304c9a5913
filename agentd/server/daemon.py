"""The daemon: puts its parts together, opens its sockets, stops in order.

Stopping: refuse new → let open calls finish for ``shutdown_grace_s`` → end the workers → close the
sockets → remove the run folder. A second signal skips to ending the workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Final

from agentd.config import ServerConfig
from agentd.errors import ConfigError
from agentd.server.admin import Admin
from agentd.server.codestore import CodeStore
from agentd.server.directory import Directory
from agentd.server.gate import Gate, GrantOf, own_uid
from agentd.server.hosting import Hosting
from agentd.server.launcher import Launcher, LocalLauncher
from agentd.server.output import OutputBook
from agentd.server.router import Router
from agentd.server.sessions import Sessions
from agentd.server.specs import Specs, installed
from agentd.server.supervisor import EXIT_S, Place, Supervisor
from agentd.transport import guard, rundir
from agentd.transport.loop import Loop
from agentd.transport.process import host_identity, raise_file_limit
from agentd.transport.sockets import Port, new_context, router

__all__ = ["Daemon", "serve"]

log = logging.getLogger("agentd.server")

KILL_WAIT_S: Final = 1.0
"""How long the end of killed workers is waited for; one stuck in the kernel may outlast it."""
READ_S: Final = 0.2
"""How long clients get to read the last answers: a DEALER that takes nothing while it is not
connected (ZMQ_IMMEDIATE) loses what it has not read when its peer closes (libzmq,
``socket_base_t::hiccuped``)."""


class Daemon:
    """One daemon. ``run`` returns when it has stopped; use it once."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        parent: int | None = None,
        launcher: Launcher | None = None,
        echo: Callable[[str, str, str], None] | None = None,
        grant_of: GrantOf = lambda _who: None,
        who_of: Callable[[int], str] = lambda _front: own_uid(),
    ) -> None:
        """Open nothing yet, but make the run folder.

        ``parent``: end when that process ends. ``echo``: also called with every line of output:
        whose it is, the stream, the text. ``grant_of``: what peers other than this user may do.
        ``who_of``: which peer comes by a front socket, by its number.
        """
        self.config = config
        self._parent = parent
        self.node = secrets.token_hex(8)
        self.loop = Loop()
        base = rundir.make_private(config.run_dir or rundir.base_folder())
        self._base = base
        self.folder = os.path.join(base, rundir.FOLDER_PREFIX + self.node)
        self._held: int | None = None
        binds = config.bind or (self._default_bind(base),)
        self._paths = [rundir.ipc_path(endpoint) for endpoint in binds]
        self.endpoint = binds[0]
        self._locks: list[rundir.Lock] = []
        self._context = new_context()
        self._directory = Directory(config.tombstones)
        self._echo = echo
        self._book = OutputBook(config.log_lines, self._echo_line if echo else None)
        self._fronts: list[Port] = []
        self._launcher = launcher or LocalLauncher()
        self._grant_of = grant_of
        self._who_of = who_of
        self._stopping = False

    def _default_bind(self, base: str) -> str:
        # An embedded daemon is private to its client: its socket lies in its own folder.
        folder = base if self._parent is None else self.folder
        return f"ipc://{os.path.join(folder, rundir.DEFAULT_SOCKET)}"

    def run(self, ready: Callable[[str], None] = lambda _endpoint: None) -> None:
        """Serve until stopped; ``ready`` is called with the endpoint once clients may come."""
        # From the first moment on: a signal that comes while this daemon starts ends it in order.
        # Nobody else is served by an embedded daemon: it has nothing to drain for.
        stop = self.stop if self._parent is None else self._end
        self.loop.on_signal(signal.SIGTERM, stop)
        self.loop.on_signal(signal.SIGINT, stop)
        raise_file_limit()
        try:
            self._open()
            ready(self.endpoint)
            log.info(
                "listening on %s",
                self.endpoint,
                extra={"action": "listening", "pid": os.getpid(), "node": self.node},
            )
            self.loop.run()
        finally:
            self._close()

    def _open(self) -> None:
        for path, endpoint in zip(self._paths, self.config.bind or (self.endpoint,), strict=True):
            if path.startswith(self.folder + "/"):
                self._make_folder()
            elif not os.path.isdir(os.path.dirname(path)):
                raise ConfigError(f"{endpoint}: the folder {os.path.dirname(path)} does not exist")
            self._locks.append(rundir.own(path, endpoint))
        rundir.sweep(self._base)
        # As late as this: until the first worker runs, nobody would clear the folder away.
        self._make_folder()
        back_endpoint = f"ipc://{self.folder}/{rundir.BACK_SOCKET}"
        back = Port(router(self._context))
        with _private_umask():
            back.socket.bind(back_endpoint)
        place = Place(self.folder, back_endpoint, self.endpoint, tuple(self._paths))
        self.sessions = Sessions(self.config.client_grace_s, host_identity(), self.loop.clock)
        store = CodeStore(f"{self.folder}/code", self.loop.later)
        self.hosting = Hosting(self.config, self.loop, self._directory, self._book, store)
        self.supervisor = Supervisor(
            self.config,
            self.loop,
            self._launcher,
            back,
            place,
            self._book,
            self.hosting.worker_lost,
        )
        self.hosting.supervisor = self.supervisor
        # The workers come before the sockets: should this process be killed from here on, they
        # are there to clear up after it.
        self.supervisor.fill()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # left by a daemon that was killed; the lock says it is gone
            front = Port(router(self._context))
            with _private_umask():
                front.socket.bind(f"ipc://{path}")
            self._fronts.append(front)
        admin = Admin(
            self.loop,
            self.node,
            self.endpoint,
            self.hosting,
            self.supervisor,
            self.sessions,
            self._book,
            self.stop,
        )
        gate = Gate(
            self._directory,
            Specs(self.config.specs, installed()),
            self.endpoint,
            safe=self.config.safe,
            grant_of=self._grant_of,
        )
        self.router = Router(
            self.config,
            self.loop,
            self.node,
            self._fronts,
            back,
            self.hosting,
            self.supervisor,
            self.sessions,
            admin.asked,
            gate,
            self._who_of,
        )
        self.router.on_drained = self._drained
        self._back = back
        self._watch_parent()
        self._check_leases()

    def _make_folder(self) -> None:
        if self._held is None:
            self._held = rundir.hold(self.folder)

    # -- stopping ----------------------------------------------------------------------------------
    def stop(self) -> None:
        """Drain, then end; called again: end now."""
        if self._stopping:
            self._end()
            self.supervisor.kill_all()
            return
        self._stopping = True
        self.hosting.draining = self.supervisor.draining = True
        log.info("draining", extra={"action": "draining"})
        for worker in self.supervisor.workers.values():
            if worker.state == "ready":
                self.supervisor.drain(worker)
            else:
                worker.drained = True
        self.loop.later(self.config.shutdown_grace_s, self._end)
        self._drained()

    def _drained(self) -> None:
        if all(w.drained for w in self.supervisor.workers.values()):
            self.loop.later(READ_S, self._end)

    def _end(self) -> None:
        if not self.supervisor.stopping:
            self.hosting.draining = self.supervisor.draining = True
            self.supervisor.end_all()
            self.loop.later(EXIT_S + KILL_WAIT_S, self.loop.stop)
            self._stop_when_gone()

    def _stop_when_gone(self) -> None:
        if self.supervisor.workers:
            self.loop.later(0.005, self._stop_when_gone)
        else:
            self.loop.stop()

    def _close(self) -> None:
        if hasattr(self, "supervisor"):
            self.supervisor.kill_all()
            self.supervisor.wait_all(KILL_WAIT_S)
        for path in self._paths[: len(self._locks)]:
            with contextlib.suppress(OSError):
                os.unlink(path)
        for front in self._fronts:
            front.close(linger_ms=200)
        if hasattr(self, "_back"):
            self._back.close()
        rundir.remove_folder(self.folder)
        if self._held is not None:
            os.close(self._held)
        for lock in self._locks:
            lock.release()
        self._context.term()
        if self._fronts:
            log.info("stopped", extra={"action": "stopped"})

    def _echo_line(self, source: bytes | str, stream: str, text: str) -> None:
        assert self._echo is not None
        label = source if isinstance(source, str) else self._directory.label(source)
        self._echo(label, stream, text)

    # -- watching ----------------------------------------------------------------------------------
    def _watch_parent(self) -> None:
        if self._parent is None:
            return
        try:
            fd = os.pidfd_open(self._parent)
        except ProcessLookupError:
            self._end()
            return
        self.loop.watch(fd, self._end)
        if os.getppid() != self._parent:  # it ended before we looked; the pid may be reused
            self._end()

    def _check_leases(self) -> None:
        for session in self.sessions.expired():
            self.router.end_session(session, "its client is gone")
        self.loop.later(min(1.0, self.config.client_grace_s / 3), self._check_leases)


@contextlib.contextmanager
def _private_umask() -> Iterator[None]:
    """Socket files open to us alone: libzmq makes them 0755 under the usual umask."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def serve(config: ServerConfig) -> int:
    """Run a daemon in this process until it is stopped; the exit code.

    Raises ``ConfigError`` and ``EndpointInUse`` before anything was started. Must be called in the
    main thread, as it handles SIGTERM and SIGINT. From here on this process reads no pickle.
    """
    guard.refuse_pickles("the daemon never opens a payload")
    Daemon(config).run()
    return 0
