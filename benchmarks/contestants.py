"""Who is measured. All do the same work behind the same few methods."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from benchmarks import floors
from benchmarks.system import below

__all__ = ["TITLES", "Agentd", "Contestant", "contestant"]

START_S = 30.0
Call = tuple[Any, str, tuple[Any, ...]]
"""An agent, a method, its arguments."""


class Contestant(Protocol):
    """One system, driven from the client's side."""

    name: str

    def start(self) -> None:
        """Start the servers and connect."""

    def stop(self) -> None:
        """End all that was started."""

    def servers(self) -> list[int]:
        """Process ids of the servers."""

    def create(self, count: int, **options: Any) -> list[Any]:
        """Make agents that echo; returns when all are known to be there."""

    def delete(self, agents: list[Any]) -> None:
        """End agents."""

    def spread(self, count: int) -> list[list[Any]]:
        """Agents that other processes can reach by these addresses (JSON), on all cores."""

    def join(self, address: list[Any]) -> Any:
        """In another process: the agent of such an address."""

    def call(self, agent: Any, method: str, *args: Any) -> Any:
        """Call and wait."""

    def call_many(self, calls: Iterable[Call], window: int) -> Iterator[Any]:
        """Keep up to ``window`` calls in flight; the results, in order."""

    def cold_command(self) -> list[str]:
        """A program that starts everything, prints ``first`` and ends."""


class Agentd:
    """As a program uses it that configures nothing: with an embedded daemon."""

    name = "agentd"

    def start(self) -> None:
        """Start the embedded daemon; all of its workers are up when this returns."""
        import agentd

        daemon = agentd.connect()
        deadline = time.monotonic() + START_S
        while any(worker["state"] != "ready" for worker in daemon.info()["workers"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers are not ready after {START_S:g} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, as the end of the program would."""
        from agentd.client.runtime import runtime

        runtime().close()

    def servers(self) -> list[int]:
        """The daemon and its workers."""
        return below()

    def create(self, count: int, **options: Any) -> list[Any]:
        """Make them all, then wait until each is ready."""
        import agentd
        from benchmarks.hosted import Echo

        to_dist: Any = options or True
        agents = [Echo(to_dist=to_dist) for _ in range(count)]
        for agent in agents:
            agentd.handle(agent).wait(60)
        return agents

    def delete(self, agents: list[Any]) -> None:
        """One by one."""
        import agentd

        for agent in agents:
            agentd.handle(agent).delete()

    def spread(self, count: int) -> list[list[Any]]:
        """The daemon places them on its workers, one a core."""
        import agentd

        self._shared = self.create(count)
        handles = [agentd.handle(agent) for agent in self._shared]
        return [[handle.endpoint, handle.id] for handle in handles]

    def join(self, address: list[Any]) -> Any:
        """Through the daemon, as any client."""
        import agentd

        endpoint, agent = address
        return agentd.connect(endpoint).get(agent)

    def call(self, agent: Any, method: str, *args: Any) -> Any:
        """``agent.method(...)``."""
        return getattr(agent, method)(*args)

    def call_many(self, calls: Iterable[Call], window: int) -> Iterator[Any]:
        """``agent.method.submit(...)``, the oldest result first."""
        pending: deque[Any] = deque()
        for agent, method, args in calls:
            if len(pending) >= window:
                yield pending.popleft().result()
            pending.append(getattr(agent, method).submit(*args))
        while pending:
            yield pending.popleft().result()

    def cold_command(self) -> list[str]:
        """A script whose class lives in ``__main__``."""
        return [sys.executable, "-P", str(Path(__file__).with_name("cold_start.py"))]


KINDS: dict[str, type[Contestant]] = {
    kind.name: kind for kind in (Agentd, floors.RpcFloor, floors.BrokerFloor)
}
TITLES = {"agentd": "agentd", "rpc": "floor", "broker": "broker floor"}
"""As the tables call them."""


def contestant(name: str) -> Contestant:
    """A new one, not started."""
    return KINDS[name]()
