"""What a client process has one of: zmq context, pump, sessions, embedded daemon."""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from agentd.client.aside import Aside
from agentd.client.defects import log
from agentd.client.farewell import roused_by, say_all
from agentd.client.pump import BEAT_S, IDLE_S, Pump
from agentd.errors import DaemonNotFound
from agentd.ids import new_session_id
from agentd.transport import rundir
from agentd.transport.kept import keep
from agentd.transport.rundir import is_tcp

if TYPE_CHECKING:
    from agentd.client.embedded import Embedded
    from agentd.client.session import Session

__all__ = ["Runtime", "begin", "runtime"]

_ENDPOINT: Final = "AGENTD_ENDPOINT"


class Runtime:
    """This process's own; made on first use, and anew in a forked child."""

    def __init__(self) -> None:
        _keep()
        self.pid = os.getpid()
        self.session = new_session_id()
        self.aside = Aside()
        self.pump = Pump(self._beat)
        roused_by(self.pump.rouse)
        self._lock = threading.RLock()  # protects the two below
        self._sessions: dict[tuple[str, bool], Session] = {}
        self._embedded: Embedded | None = None

    @cached_property
    def context(self) -> Any:
        """Of ZeroMQ; made when the first daemon is met."""
        from agentd.transport.sockets import new_context

        with self._lock:
            return self.__dict__.get("context") or new_context()

    def connect(
        self, endpoint: str | None = None, *, embedded: bool = True, direct: bool = True
    ) -> Session:
        """The session with a daemon; raises ``DaemonNotFound`` and ``ConfigError``.

        Without an endpoint: ``AGENTD_ENDPOINT``, else this user's running daemon, else (if
        ``embedded``) one that is started as a child of this process.
        """
        session = self._session(endpoint or self._find(embedded=embedded), direct=direct)
        session.daemon.connect()
        return session

    def session_at(self, endpoint: str, *, direct: bool = True) -> Session:
        """The session with the daemon of a reference."""
        return self._session(endpoint, direct=direct)

    def _session(self, endpoint: str, *, direct: bool) -> Session:
        direct = direct and not is_tcp(endpoint)  # the daemon relays to what cannot be reached
        key = (endpoint, direct)
        session = self._sessions.get(key)
        if session is None:
            with self._lock:
                session = self._sessions.get(key)
                if session is None:
                    from agentd.client.session import Session

                    session = self._sessions[key] = Session(self, endpoint, direct=direct)
        return session

    def _find(self, *, embedded: bool) -> str:
        there = self._there()
        if there is not None:
            return there
        if not embedded:
            default = rundir.default_endpoint()
            raise DaemonNotFound(
                f"no daemon listens on {default}; start one with: agentd serve", endpoint=default
            )
        return self._own().endpoint

    def _there(self) -> str | None:
        """The daemon that is meant, if it need not be started."""
        if _ENDPOINT in os.environ and (told := os.environ[_ENDPOINT]):
            return told
        if self._embedded is not None and self._is_well(self._embedded):
            return self._embedded.endpoint
        default = rundir.default_endpoint()
        if rundir.is_listening(rundir.ipc_path(default)):
            rundir.check_private(rundir.base_folder())  # else anybody might listen there
            return default
        return None

    def _is_well(self, embedded: Embedded) -> bool:
        """Whether it runs; while it is connected there is no need to ask the kernel."""
        met = self._sessions.get((embedded.endpoint, True)) if embedded.listens else None
        return (met is not None and met.daemon.is_connected) or embedded.running()

    def _own(self) -> Embedded:
        """The embedded daemon; started if it does not run, and not waited for."""
        with self._lock:
            if self._embedded is None or not self._embedded.running():
                from agentd.client.embedded import Embedded

                self._embedded = Embedded()
            return self._embedded

    def begin(self) -> None:
        """If an embedded daemon will be needed, start it now: it gets ready meanwhile."""
        if self._embedded is None and self._there() is None:
            self._own()

    def _beat(self) -> float:
        say_all()
        now = time.monotonic()
        rest = IDLE_S
        for session in list(self._sessions.values()):
            try:
                rest = min(rest, session.beat(now))
            except Exception:  # out of descriptors, say: no reason to lose the other leases
                log.exception("a heartbeat for %s failed", session.endpoint)
                rest = BEAT_S
        return rest

    def forget(self) -> None:
        """It belongs to the process that this one was forked from."""
        for session in list(self._sessions.values()):
            session.alive = False

    def close(self) -> None:
        """Say good-bye to every daemon; an embedded one ends. Called at exit."""
        with self._lock:
            sessions, self._sessions = self._sessions, {}
            embedded, self._embedded = self._embedded, None
        self.pump.stop()
        for session in sessions.values():
            session.close()
        if embedded is not None:
            embedded.stop()


def _keep() -> None:
    """As much memory for long values as the environment says; raises ``ConfigError``."""
    told = os.environ.get("AGENTD_KEPT_BYTES")
    if told:
        from agentd.config import load

        keep(load(env={"AGENTD_KEPT_BYTES": told}).kept_bytes)


_runtime: Runtime | None = None
_lock = threading.Lock()  # protects the making of the runtime


def runtime() -> Runtime:
    """This process's runtime. A forked child gets its own: sockets do not survive a fork."""
    global _runtime  # noqa: PLW0603 - one per process is what it is for
    if _runtime is None:
        with _lock:
            if _runtime is None:
                _runtime = Runtime()
                atexit.register(_close, _runtime)  # and so a forked child keeps it, unused
    return _runtime


def _forget() -> None:
    """In a forked child, told by Python: to ask for the process id is a system call each time."""
    global _runtime, _lock
    if _runtime is not None:
        _runtime.forget()
    _runtime, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def begin() -> None:
    """See ``Runtime.begin``; cheap where that has been done."""
    if _runtime is None:
        runtime().begin()


def _close(one: Runtime) -> None:
    if one.pid == os.getpid():
        one.close()
