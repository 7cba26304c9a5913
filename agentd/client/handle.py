"""``agentd.handle(proxy)``: what can be done with the reference, apart from the agent itself."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agentd.client.calling import until_ready
from agentd.client.proxy import RpcObject, complete, ensure_ready, target
from agentd.client.watching import Seen, Watch, fetch, look, put, watch
from agentd.errors import AgentNotFound, CallTimeout, ConfigError, ConnectionLost
from agentd.ids import show

if TYPE_CHECKING:
    from agentd.client.streaming import Stream

__all__ = ["AgentHandle", "handle"]


class AgentHandle:
    """The management side of one agent. As a context manager it deletes the agent at the end."""

    def __init__(self, proxy: RpcObject) -> None:
        self._proxy = proxy
        self._target = target(proxy)

    @property
    def id(self) -> str:
        """32 hex characters."""
        return show(self._target.agent)

    @property
    def name(self) -> str | None:
        """Its name, if it has one."""
        return self._target.name

    @property
    def endpoint(self) -> str:
        """Where its daemon listens."""
        return self._target.endpoint

    @property
    def proxy(self) -> Any:
        """The agent itself."""
        return self._proxy

    def info(self) -> dict[str, Any]:
        """What the daemon knows of it (``agentctl inspect``); raises ``AgentNotFound``."""
        return dict(self._ask("agent", agent=self.id))

    def wait(self, timeout: float | None = None) -> AgentHandle:
        """Wait until it is ready, at most ``timeout`` seconds.

        Raises ``AgentCreationError`` (the original exception is its cause), ``AgentNotFound``,
        ``CallTimeout``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            ensure_ready(self._target, deadline)
        except CallTimeout:
            raise CallTimeout(
                f"agent {self._target.label} ({self._target.cls}) is not ready after {timeout:g} s",
                agent=self.id,
                timeout=timeout,
            ) from None
        complete(self._proxy)
        return self

    def ping(self) -> float:
        """Seconds to the worker that hosts it and back, without entering the agent."""
        from agentd.client.runtime import runtime

        until_ready(self._proxy)
        return runtime().session_at(self.endpoint).ping(self._target.agent)

    def stream(self, stream: str, offset: int = 0) -> Stream:
        """Read a stream of the agent by its id, from an item on, or raise ``ResultExpired``."""
        from agentd.client.streaming import attach

        until_ready(self._proxy)
        return attach(self._proxy, stream, offset)

    def fetch(self) -> Any:
        """A local copy of the agent's object as it is now: the way back from ``.to_dist()``.

        Raises ``SerializationError`` if part of it cannot travel.
        """
        return fetch(self._proxy)

    def look(self, name: str) -> Seen:
        """An attribute and its version, to be given to ``set``."""
        return look(self._proxy, name)

    def watch(self, name: str) -> Watch:
        """The attribute, as ``Seen(value, version)``, now and after each turn that changed it."""
        return watch(self._proxy, name)

    def set(self, name: str, value: Any, expect: int | None = None) -> int:
        """Set an attribute, only if nobody else did since version ``expect``; the new version.

        Raises ``StateConflict``, and writes nothing, if it has another version.
        """
        return put(self._proxy, name, value, expect)

    def kill(self) -> None:
        """End it though its code does not listen: the calls that run fail at once.

        An agent with a worker of its own (``worker="dedicated"``) ends with that process. In
        a shared worker its calls are cancelled; code that is stuck in C goes on until it returns.
        """
        try:
            self._ask("kill", agent=self.id)
        except AgentNotFound:
            pass

    def delete(self) -> None:
        """End it; nothing happens if it has ended already."""
        try:
            self._ask("delete", agent=self.id)
        except AgentNotFound:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.delete()
        except ConnectionLost:
            if error is None:  # do not hide what went wrong first
                raise

    def _ask(self, what: str, **params: Any) -> Any:
        from agentd.client.runtime import runtime

        return runtime().session_at(self.endpoint).daemon.ask(what, **params)

    def __repr__(self) -> str:
        return f"<AgentHandle of {self._proxy!r}>"


def handle(agent: object, /) -> AgentHandle:
    """The handle of a proxy; raises ``ConfigError`` for anything else."""
    if not issubclass(type(agent), RpcObject):
        raise ConfigError(
            f"a {type(agent).__name__} is not a hosted agent; host it with to_dist first"
        )
    return AgentHandle(agent)  # type: ignore[arg-type]
