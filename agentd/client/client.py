"""``agentd.connect()``: a daemon as an object."""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from agentd.client.creation import construct
from agentd.client.options import check_timeout, options_of
from agentd.client.proxy import make_proxy, target
from agentd.client.runtime import runtime
from agentd.client.session import Session
from agentd.client.target import Target
from agentd.errors import CallTimeout

__all__ = ["Client", "connect"]


class Client:
    """The daemon at one endpoint. Made by ``connect``; usable from any thread.

    Every method may raise ``DaemonNotFound`` or ``ConnectionLost``.
    """

    def __init__(self, session: Session, timeout: float | None = None) -> None:
        self._session = session
        self._timeout = timeout

    @property
    def endpoint(self) -> str:
        """Where the daemon listens."""
        return self._session.endpoint

    def info(self) -> dict[str, Any]:
        """The daemon: versions, pid, uptime_s, number of agents, its workers."""
        return dict(self._session.daemon.ask("info"))

    def agents(self) -> list[dict[str, Any]]:
        """All agents, each with id, name, cls, state, worker, pid, epoch, restarts, created_at."""
        return list(self._session.daemon.ask("agents"))

    def inspect(self, id_or_name: str) -> dict[str, Any]:
        """One agent in detail; raises ``AgentNotFound``."""
        return dict(self._session.daemon.ask("agent", agent=id_or_name))

    def get(self, id_or_name: str) -> Any:
        """The proxy of an agent, by name, id, or the start of its id; waits until it is ready.

        Raises ``AgentNotFound``, ``AgentCreationError``; ``CallTimeout`` after this client's
        ``timeout``.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        try:
            ready = self._session.places.locate(name=id_or_name, deadline=deadline)
        except CallTimeout:
            raise CallTimeout(
                f"agent {id_or_name!r} is not ready within {self._timeout:g} s",
                timeout=self._timeout,
            ) from None
        aim = Target(ready.agent, self.endpoint, ready.cls, ready.name, about=ready.about)
        aim.direct = self._session.workers.direct
        aim.timeout = self._timeout
        return make_proxy(aim)

    def create(
        self, path: str, /, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Host ``pkg.mod:Class(*args, **kwargs)``, a class that this process need not have.

        ``options`` are those of ``to_dist`` but the endpoint. Returns the proxy at once, like
        ``Class(..., to_dist=True)``.
        """
        conf = options_of(options or True)
        if conf.timeout is None:
            conf = replace(conf, timeout=self._timeout)
        return construct(path, args, kwargs, conf, self._session)

    def delete(self, *agents: Any) -> list[str]:
        """End agents, given by proxy, name or id; the ids of those ended."""
        ids = []
        for agent in agents:
            text = agent if isinstance(agent, str) else target(agent).agent.hex()
            ids.append(self._session.daemon.ask("delete", agent=text)["id"])
        return ids

    def logs(self, id_or_name: str, after: int = 0, wait: float = 0.0) -> dict[str, Any]:
        """What the agent printed: ``lines`` (seq, time, stream, text), ``next``, ``ended``.

        ``after``: only lines from that number on. ``wait``: if there is none, wait up to that many
        seconds (30 at most) for one.
        """
        return dict(self._session.daemon.ask("logs", agent=id_or_name, after=after, wait=wait))

    def ping(self) -> float:
        """Seconds to the daemon and back."""
        started = time.perf_counter()
        self._session.ping()
        return time.perf_counter() - started

    def stop(self) -> None:
        """Have the daemon drain and end; returns as soon as it begins to."""
        self._session.daemon.ask("stop")

    def close(self) -> None:
        """Let go of the daemon; it and its agents live on.

        The connection belongs to the process and is shared, so proxies go on working.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<agentd client of {self.endpoint}>"


def connect(
    endpoint: str | None = None,
    *,
    embedded: bool = True,
    direct: bool = True,
    timeout: float | None = None,
) -> Client:
    """The daemon at ``endpoint``.

    Without one: ``AGENTD_ENDPOINT``, else this user's running daemon, else an embedded one.
    ``embedded=False``: raise ``DaemonNotFound`` rather than start one. ``direct=False``: have the
    daemon relay all calls, for where its workers' sockets cannot be reached. ``timeout``: seconds
    for the calls of agents got or created by this client, where neither they nor the call say so.
    """
    check_timeout("connect", timeout)
    return Client(runtime().connect(endpoint, embedded=embedded, direct=direct), timeout)
