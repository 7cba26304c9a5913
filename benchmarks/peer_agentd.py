"""agentd for a harness that measures it beside its peers.

That harness loads adapters by path (``--adapter FILE.py:Class``); an adapter subclasses its
``base.Adapter`` and hosts its ``agents.Echo``. With the folder of the harness as ``HARNESS`` and an
environment that has agentd and numpy as ``ENV``::

    python HARNESS/run.py --adapter benchmarks/peer_agentd.py:Agentd --venv agentd=ENV
"""

from __future__ import annotations

from typing import Any

import base  # type: ignore[import-not-found]  # the harness's
from agents import Echo as PlainEcho  # type: ignore[import-not-found]  # as above

import agentd
from agentd.client import runtime

__all__ = ["Agentd", "Echo"]


class Echo(PlainEcho, metaclass=agentd.RpcMeta):  # type: ignore[misc]  # it is not typed
    """The harness's agent, hosted as it is."""


NAPS_EACH = 10
"""1,000 naps over 100 agents."""


class Agentd(base.Adapter):  # type: ignore[misc]  # as above
    """With an embedded daemon: what a program gets that configures nothing."""

    name = "agentd"
    venv = "agentd"
    packages = ("agentd-server", "pyzmq", "msgpack")
    pipeline_kind = "256 AsyncResults of one connection"
    notes = (
        "embedded daemon with a worker process per core; calls go straight to the worker",
        "an agent's calls run one at a time; naps are `async def` with max_concurrency=10",
        "creating an agent = a message to the daemon, __init__ in a worker, the answer that it is "
        "ready",
    )

    def start(self, profile: str = "default") -> None:
        """Start the daemon; its workers are up when this returns."""
        self.destroy(self.create(len(agentd.connect().info()["workers"])))

    def stop(self) -> None:
        """End it, as the end of the program would."""
        runtime.runtime().close()
        runtime._runtime = None  # the harness may start it again in this process

    def create(self, n: int, kind: str = "echo") -> list[Any]:
        """Made at once; returns when each is ready."""
        to_dist: Any = {"max_concurrency": NAPS_EACH} if kind == "nap" else True
        agents = [Echo(to_dist=to_dist) for _ in range(n)]
        for agent in agents:
            agentd.handle(agent).wait(30)
        return agents

    def destroy(self, handles: list[Any]) -> None:
        """One by one."""
        for handle in handles:
            agentd.handle(handle).delete()

    def call_sync(self, handle: Any, method: str, *args: Any) -> Any:
        """``agent.method(...)``."""
        return getattr(handle, method)(*args)

    def call_many(self, calls: list[Any], window: int) -> list[Any]:
        """``agent.method.submit(...)``; the harness's nap for ``async def`` is called ``anap``."""

        def submit(call: Any) -> Any:
            agent, method, args = call
            return getattr(agent, "anap" if method == "nap" else method).submit(*args)

        results: list[Any] = base.sliding(submit, lambda result: result.result(), calls, window)
        return results

    def first_call(self) -> Any:
        """Nothing is waited for but the answer."""
        return Echo(to_dist=True).echo("first")
