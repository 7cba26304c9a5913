"""What never travels: things that are tied to their process, whatever a pickler makes of them."""

from __future__ import annotations

from typing import Final

__all__ = ["refused_name"]

# By name, so that nothing is imported in order to refuse it. A subclass is refused with its base.
_REFUSED: Final = {
    "_thread.lock": "threading.Lock",
    "_thread.RLock": "threading.RLock",
    "threading._RLock": "threading.RLock",
    "threading.Condition": "threading.Condition",
    "threading.Event": "threading.Event",
    "threading.Semaphore": "threading.Semaphore",
    "threading.Barrier": "threading.Barrier",
    "threading.Thread": "threading.Thread",
    "_thread._local": "threading.local",
    "_threading_local.local": "threading.local",
    "queue.Queue": "queue.Queue",
    "_queue.SimpleQueue": "queue.SimpleQueue",
    "concurrent.futures._base.Executor": "concurrent.futures.Executor",
    "concurrent.futures._base.Future": "concurrent.futures.Future",
    "_io._IOBase": "an open file",
    "_socket.socket": "socket.socket",
    "ssl.SSLContext": "ssl.SSLContext",
    "_ssl._SSLContext": "ssl.SSLContext",
    "select.epoll": "select.epoll",
    "select.poll": "select.poll",
    "subprocess.Popen": "subprocess.Popen",
    "multiprocessing.process.BaseProcess": "multiprocessing.Process",
    "mmap.mmap": "mmap.mmap",
    "sqlite3.Connection": "sqlite3.Connection",
    "sqlite3.Cursor": "sqlite3.Cursor",
    "builtins.generator": "generator",
    "builtins.async_generator": "async_generator",
    "builtins.coroutine": "coroutine",
    "builtins.frame": "frame",
    "builtins.traceback": "traceback",
    "builtins.PyCapsule": "PyCapsule",
    "asyncio.events.AbstractEventLoop": "asyncio event loop",
    "_asyncio.Future": "asyncio.Future",
    "asyncio.futures.Future": "asyncio.Future",
    "zmq.sugar.context.Context": "zmq.Context",
    "zmq.sugar.socket.Socket": "zmq.Socket",
    "httpx.Client": "httpx.Client",
    "httpx.AsyncClient": "httpx.AsyncClient",
    "aiohttp.client.ClientSession": "aiohttp.ClientSession",
}
# These are files by type only: their content is in memory, and pickle carries it.
_IN_MEMORY: Final = frozenset({"_io.BytesIO", "_io.StringIO", "tempfile.SpooledTemporaryFile"})


def refused_name(kind: type) -> str | None:
    """How a thing of that type is called in an error; ``None`` if it is not known to be tied."""
    found = None
    for ancestor in type.mro(kind) if kind is not type else ():
        name = f"{ancestor.__module__}.{ancestor.__qualname__}"
        if name in _IN_MEMORY:
            return None
        found = found or _REFUSED.get(name)
    if found == "an open file":
        return f"{kind.__module__}.{kind.__qualname__} (an open file)"
    return found
