"""agentd: host Python agents in a daemon and call them as if they were here.

>>> class Counter(agentd.Agent):
...     def __init__(self, start): self.value = start
...     def add(self, n): self.value += n; return self.value
>>> counter = Counter(5, to_dist=True)      # __init__ runs once, in the daemon
>>> counter.add(1)
6
"""

from typing import TYPE_CHECKING, Any

from agentd import errors
from agentd._version import __version__
from agentd.client.meta import (
    Agent,
    RpcMeta,
    async_func,
    expose,
    idempotent,
    readonly,
    sync_func,
)

if TYPE_CHECKING:
    from agentd.client.aio import module as aio
    from agentd.client.client import Client, connect
    from agentd.client.context import current_agent, current_call
    from agentd.client.files import File
    from agentd.client.handle import AgentHandle, handle
    from agentd.client.host import host
    from agentd.client.options import DistConf
    from agentd.client.proxy import RpcObject
    from agentd.client.results import AsyncResult
    from agentd.client.retry import Retry
    from agentd.client.secrets import Secret

__all__ = [
    "Agent",
    "AgentHandle",
    "AsyncResult",
    "Client",
    "DistConf",
    "File",
    "Retry",
    "RpcMeta",
    "RpcObject",
    "Secret",
    "__version__",
    "aio",
    "async_func",
    "connect",
    "current_agent",
    "current_call",
    "errors",
    "expose",
    "handle",
    "host",
    "idempotent",
    "readonly",
    "sync_func",
]

_LATER = {
    "AgentHandle": "handle",
    "AsyncResult": "results",
    "Client": "client",
    "DistConf": "options",
    "File": "files",
    "Retry": "retry",
    "RpcObject": "proxy",
    "Secret": "secrets",
    "connect": "client",
    "current_agent": "context",
    "current_call": "context",
    "handle": "handle",
    "host": "host",
}
"""What a program that only defines agents does not need: imported on first use."""


def __getattr__(name: str) -> Any:
    if name == "aio":  # both a module and a function
        import agentd.client.aio as aio_module

        globals()["aio"] = aio_module
        return aio_module
    room = _LATER.get(name)
    if room is None:
        raise AttributeError(f"module 'agentd' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"agentd.client.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
