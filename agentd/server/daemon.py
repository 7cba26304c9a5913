"""The daemon: puts its parts together, opens its sockets, stops in order.

Stopping: refuse new → let open calls finish for ``shutdown_grace_s`` → end the workers → close the
sockets → remove the run folder. A second signal skips to ending the workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from agentd.config import ServerConfig
from agentd.errors import AgentdError, ConfigError
from agentd.keys.book import GrantBook
from agentd.keys.files import config_folder
from agentd.keys.reading import Reading
from agentd.server.admin import Admin
from agentd.server.audit import Audit, audit_path, silent
from agentd.server.codestore import CodeStore
from agentd.server.confine import to_be_read, worker_environment, worker_user
from agentd.server.directory import Directory
from agentd.server.doors import Doors, door_settings
from agentd.server.foldernotice import FolderNotice
from agentd.server.fronts import Fronts, split
from agentd.server.gate import Gate
from agentd.server.grantwatch import GrantWatch
from agentd.server.hosting import Hosting
from agentd.server.launcher import Exit, Launcher, LocalLauncher
from agentd.server.output import OutputBook
from agentd.server.router import Router
from agentd.server.sessions import Sessions
from agentd.server.specs import Specs, installed
from agentd.server.standing import Standing, standing
from agentd.server.supervisor import EXIT_S, Place, Supervisor
from agentd.server.trail import Trail
from agentd.server.watchdog import Watchdog
from agentd.server.workers import Worker
from agentd.transport import rundir
from agentd.transport.backlog import CALL_BYTES
from agentd.transport.connections import Connections, most_connections
from agentd.transport.localfront import LocalFront
from agentd.transport.loop import Loop
from agentd.transport.portions import Portions
from agentd.transport.process import collect_rarely, host_identity, raise_file_limit
from agentd.transport.restraint import Restraint

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

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
    ) -> None:
        """Open nothing yet, but make the run folder.

        ``parent``: end when that process ends. ``echo``: also called with every line of output:
        whose it is, the stream, the text.
        """
        self.config = config
        self._worker_user = user = worker_user(config)
        self._parent = parent
        self.node = os.urandom(8).hex()
        self.loop = Loop()
        base = config.run_dir or rundir.base_folder()
        self._base = base
        self.folder = os.path.join(base, rundir.FOLDER_PREFIX + self.node)
        self._held: int | None = None
        self._ipc, tcp = split(config.bind, self._default_bind(base))
        self._paths = [rundir.ipc_path(endpoint) for endpoint in self._ipc]
        self.endpoint = self._ipc[0]
        # An embedded daemon serves its own client, and nobody else.
        folder = config_folder(config.config_dir)
        self._book = GrantBook(folder if parent is None else None)
        self._portions = Portions(config.client_portion, self.loop.clock)
        self._fronts = Fronts(
            self._book,
            tcp,
            folder,
            max_frame=config.max_message_bytes,
            handshake_s=config.handshake_s,
            portions=self._portions,
        )
        self._door = door_settings(config, self._fronts.tcp)
        self._doors: Doors | None = None
        self._grants: GrantWatch | None = None
        self._failure: AgentdError | None = None
        rundir.make_private(base)
        self._locks: list[rundir.Lock] = []
        self._directory = Directory(config.tombstones)
        self._echo = echo
        self._output = OutputBook(
            config.log_lines, self._echo_line if echo else None, self._directory
        )
        path = audit_path(config, self.endpoint, exposed=bool(tcp))
        self._audit = None if path is None else Audit(path)
        self._launcher = launcher or LocalLauncher(worker_environment(config, user=user), user)
        self._code = -1
        self._stopping = False

    def _default_bind(self, base: str) -> str:
        # An embedded daemon is private to its client: its socket lies in its own folder.
        # Nobody else knocks there, so it needs none of what ZeroMQ does for clients of all kinds.
        if self._parent is not None:
            return f"unix://{os.path.join(self.folder, rundir.DEFAULT_SOCKET)}"
        return f"ipc://{os.path.join(base, rundir.DEFAULT_SOCKET)}"

    def run(self, ready: Callable[[str], None] = lambda _endpoint: None) -> None:
        """Serve until stopped; ``ready`` is called with the endpoint once clients may come."""
        # From the first moment on: a signal that comes while this daemon starts ends it in order.
        # Nobody else is served by an embedded daemon: it has nothing to drain for.
        stop = self.stop if self._parent is None else self._end
        self.loop.on_signal(signal.SIGTERM, stop)
        self.loop.on_signal(signal.SIGINT, stop)
        self.loop.on_signal(signal.SIGHUP, self._reload)
        raise_file_limit()
        try:
            self._open()
            ready(self.endpoint)
            log.info(
                "listening on %s",
                ", ".join([*self._ipc, *self._fronts.endpoints]),
                extra={"action": "listening", "pid": os.getpid(), "node": self.node},
            )
            if self._audit is not None:
                log.info("audit log: %s", self._audit.path, extra={"action": "audit_log"})
            self.loop.run()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    def _open(self) -> None:
        for path, endpoint in zip(self._paths, self._ipc, strict=True):
            if path.startswith(self.folder + "/"):
                self._make_folder()
            elif not os.path.isdir(os.path.dirname(path)):
                raise ConfigError(f"{endpoint}: the folder {os.path.dirname(path)} does not exist")
            self._locks.append(rundir.own(path, endpoint))
        rundir.sweep(self._base)
        self._check_worker_user()
        # As late as this: until the first worker runs, nobody would clear the folder away.
        self._make_folder()
        self.sessions = Sessions(self.config.client_grace_s, host_identity(), self.loop.clock)
        shared = self._worker_user is not None
        store = CodeStore(f"{self.folder}/code", self.loop.later, shared=shared)
        if shared:
            self._code = store.descriptor()
        place = Place(self.folder, self.endpoint, tuple(self._paths), self._code, self._door)
        self.hosting = Hosting(self.config, self.loop, self._directory, self._output, store)
        self.supervisor = Supervisor(
            self.config,
            self.loop,
            self._launcher,
            place,
            self._output,
            self._worker_lost,
        )
        self.hosting.supervisor = self.supervisor
        if self._door is not None:
            self._doors = Doors(self.supervisor, self._book)
        # The workers come before the sockets: should this process be killed from here on, they
        # are there to clear up after it.
        # A program that has a daemon of its own waits for one agent first.
        self.supervisor.fill(at_once=None if self._parent is None else 1)
        most = most_connections(self.config.max_connections, len(self.supervisor.workers))
        self._connections = Connections(most, self.loop.clock)
        self._restraint = Restraint(
            self.loop,
            self._connections,
            self.config.client_bytes + CALL_BYTES * self.config.client_calls,
            self.config.daemon_bytes,
            self.config.max_message_bytes,
            lambda peer: self.router.screening.shut_out(peer),  # noqa: PLW0108 - it is made later
        )
        self._fronts.on_open = self._watch_front
        self._fronts.on_bound = self._connections.bound
        for path, endpoint in zip(self._paths, self._ipc, strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # left by a daemon that was killed; the lock says it is gone
            if rundir.is_unix(endpoint):
                self._fronts.open_unix(
                    path,
                    private=os.path.dirname(path) in (self._base, self.folder),
                    most_queued=self.config.max_queued_bytes,
                )
            else:
                self._fronts.open_ipc(self._context, path)
        if self._fronts.has_tcp:
            self._fronts.open_tcp(self._context, self._unkept)
        admin = Admin(
            self.loop,
            self.node,
            self.endpoint,
            self.hosting,
            self.supervisor,
            self.sessions,
            self._output,
            self.stop,
            self._standing,
        )
        note = silent if self._audit is None else self._audit.note
        gate = Gate(
            self._directory,
            Specs(self.config.specs, installed),
            self.endpoint,
            self._book.grant_of,
            safe=self.config.safe,
        )
        self.router = Router(
            self.config,
            self.loop,
            self.node,
            self.endpoint,
            self._fronts.ports,
            self.hosting,
            self.supervisor,
            self.sessions,
            self._connections,
            admin.asked,
            self._book.grant_of,
            gate,
            Trail(note, self._book.grant_of, self.loop.clock),
            self._doors,
        )
        self.router.on_drained = self._drained
        self._fronts.let_wait(self.router.screening.left)
        self._watchdog = Watchdog(
            self.loop,
            self._connections,
            self.config.max_memory_bytes,
            self.router.answers.ask_for_life,
        )
        self._watch_parent()
        self._check_leases()
        if self._parent is None:
            self._watch_grants()

    @cached_property
    def _context(self) -> Any:
        """Of ZeroMQ, if it is needed."""
        from agentd.transport.sockets import new_context

        return new_context()

    def _watch_front(self, front: FrontPort | LocalFront) -> None:
        """Have the book of connections follow what a socket accepts, from the first one on."""
        if isinstance(front, LocalFront):
            self._connections.follow(front)
            return
        number = len(self._fronts.ports) - 1
        self._restraint.follow(number, front)
        self.loop.serve(self._connections.watch(front), partial(self._connections.events, number))

    def _standing(self) -> Standing:
        """Limits and counters, for administration."""
        return standing(
            self.config,
            self.router,
            self._fronts.ports,
            self._connections,
            self._watchdog,
            self._restraint,
            self._portions,
            self.supervisor.counted(),
        )

    def _check_worker_user(self) -> None:
        """``ConfigError`` if no worker can run as who it should; warns of what they cannot read."""
        if not isinstance(self._launcher, LocalLauncher):
            return
        for path in self._launcher.unreadable(to_be_read(self.config)):
            log.warning(
                "workers, which run as %s, cannot read %s",
                self._worker_user,
                path,
                extra={"action": "path_unreadable", "path": path},
            )

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

    def _worker_lost(self, worker: Worker, exit_: Exit, running: set[bytes], tail: str) -> None:
        self.hosting.worker_lost(worker, exit_, running, tail)
        self._stop_when_gone()

    def _stop_when_gone(self) -> None:
        if self.supervisor.stopping and not self.supervisor.workers:
            self.loop.stop()

    def _close(self) -> None:
        if hasattr(self, "supervisor"):
            self.supervisor.kill_all()
            self.supervisor.wait_all(KILL_WAIT_S)
        for path in self._paths[: len(self._locks)]:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if hasattr(self, "_connections"):
            self._connections.close()
        served = bool(self._fronts.ports)
        if self._grants is not None:
            self._grants.stop()
        closed = self._fronts.close(linger_ms=200)
        rundir.remove_folder(self.folder)
        for fd in (self._held, self._code):
            if fd is not None and fd >= 0:
                os.close(fd)
        for lock in self._locks:
            lock.release()
        if closed and "_context" in self.__dict__:
            self._context.term()
        if self._audit is not None:
            self._audit.close()
        if served:
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

    # -- who may come ------------------------------------------------------------------------------
    def _watch_grants(self) -> None:
        from agentd.keys.grants import authorized_folder

        notice = FolderNotice(authorized_folder(config_folder(self.config.config_dir)))

        def look(asked: bool) -> Reading | None:  # noqa: FBT001 - as it is called
            notice.follow()  # first: what changes while it is read is told of
            return self._book.look(always=asked)

        self.loop.on_signal(signal.SIGIO, self._grants_changed)
        self._grants = GrantWatch(
            look,
            lambda found, asked: self.loop.call_soon(
                partial(self._take_grants, found, asked=asked)
            ),
            self._unkept,
        )
        self._grants_changed()  # else nobody is told before the first look, half a second later

    def _grants_changed(self) -> None:
        if self._grants is not None:
            self._grants.changed()

    def _reload(self) -> None:
        if self._grants is not None:
            self._grants.now()

    def _take_grants(self, found: Reading | None, *, asked: bool) -> None:
        """Put in force what the files say; those whose grants are gone have to leave."""
        before = self._book.alarms
        gone = self._book.take(found)
        for alarm in self._book.alarms:
            if asked or alarm not in before:
                log.warning("%s", alarm, extra={"action": "grant_alarm"})
        self._fronts.show_to_users()
        if self._doors is not None and found is not None:
            self._doors.changed()
        if gone:
            self.router.departures.evict(gone)

    def _unkept(self, why: AgentdError) -> None:
        """The door is not kept: whoever is in must go, and this daemon ends. From any thread."""
        self.loop.call_soon(partial(self._close_door, why))

    def _close_door(self, why: AgentdError) -> None:
        if self._failure is None and not self.supervisor.stopping:
            self._failure = why
            log.critical("%s", why, extra={"action": "door_unkept"})
            self._fronts.close_tcp()
            self._end()

    def _check_leases(self) -> None:
        if self._audit is not None:
            self._audit.tick()
        for session in self.sessions.expired():
            self.router.departures.expire(session)
        self.loop.later(min(1.0, self.config.client_grace_s / 3), self._check_leases)


def serve(config: ServerConfig) -> int:
    """Run a daemon in this process until it is stopped; the exit code.

    Raises ``ConfigError`` and ``EndpointInUse`` before anything was started. Must be called in the
    main thread, as it handles SIGTERM and SIGINT.
    """
    daemon = Daemon(config)
    collect_rarely()
    daemon.run()
    return 0
