"""``agentd.aio``: the same agents for asyncio. No thread per call, no polling.

``agentd.aio(agent)`` is the agent with every method awaitable and every stream ``async for``;
``await agentd.aio.connect()`` a client whose methods are awaitable.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar, cast

from agentd.client.about import GENERATOR
from agentd.client.attending import attend
from agentd.client.calling import DEFAULT, CallOptions, flags, stream, submit
from agentd.client.client import Client
from agentd.client.client import connect as blocking_connect
from agentd.client.method import RemoteMethod
from agentd.client.proxy import RpcObject, session_of, target
from agentd.client.results import AsyncResult
from agentd.client.streaming import Stream
from agentd.errors import ConfigError

__all__ = ["AioAgent", "AioClient", "aio", "connect", "read", "wait_in_loop", "write"]

T = TypeVar("T")


def wait_in_loop(result: Any) -> Generator[Any, None, Any]:
    """``await`` for a ``concurrent.futures.Future``; many that are done wake the loop once."""
    loop = asyncio.get_running_loop()
    if not result.settled:
        woken = loop.create_future()
        thread = threading.get_ident()

        def wake(_result: Any) -> None:
            if threading.get_ident() != thread:
                _waker(loop).wake(woken)
            elif not woken.done():
                woken.set_result(None)

        result.tell(wake, partial(attend, loop=loop))
        try:
            with result.awaited():
                yield from woken
        except asyncio.CancelledError:
            result.cancel()
            raise
    held = result.held()
    if held is not None:
        brought = loop.create_future()
        held.bring(lambda: _waker(loop).wake(brought))
        yield from brought
    return result.result()


class _Waker:
    """Collects what is done and tells a loop in one go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._done: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()  # protects the next
        self._called = False

    def wake(self, woken: asyncio.Future[None]) -> None:
        self._done.append(woken)
        with self._lock:
            if self._called:
                return
            self._called = True
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._run)
            except RuntimeError:
                pass  # the loop is closed, and nobody waits

    def _run(self) -> None:
        with self._lock:
            self._called = False
        while self._done:
            woken = self._done.popleft()
            if not woken.done():
                woken.set_result(None)


_wakers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Waker] = weakref.WeakKeyDictionary()


def _waker(loop: asyncio.AbstractEventLoop) -> _Waker:
    waker = _wakers.get(loop)
    if waker is None:
        waker = _wakers.setdefault(loop, _Waker(loop))
    return waker


class AioMethod:
    """A method of a hosted agent: calling it gives an awaitable, or an ``async for`` stream."""

    __slots__ = ("_name", "_options", "_proxy")

    def __init__(self, proxy: RpcObject, name: str, options: CallOptions = DEFAULT) -> None:
        self._proxy = proxy
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A coroutine; for a generator method a ``Stream``."""
        aim = target(self._proxy)
        known = aim.local is not None or aim.about is not None
        if known and flags(self._proxy, self._name) & GENERATOR:
            return self.stream(*args, **kwargs)
        return _call(self._proxy, self._name, args, kwargs, self._options)

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """The items of a generator method, for ``async for``."""
        return _LazyStream(self._proxy, self._name, args, kwargs, self._options)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """The ``AsyncResult`` itself."""
        return submit(self._proxy, self._name, args, kwargs, self._options)

    async def oneway(self, *args: Any, **kwargs: Any) -> None:
        """Return when the call has been accepted."""
        method = RemoteMethod(self._proxy, self._name, self._options)
        await asyncio.to_thread(method.oneway, *args, **kwargs)

    def options(self, **options: Any) -> AioMethod:
        """As for the blocking method."""
        method = RemoteMethod(self._proxy, self._name, self._options).options(**options)
        return AioMethod(self._proxy, self._name, method.call_options)


async def _call(
    proxy: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
) -> Any:
    """A call that is sent when it is awaited; the first one connects in a thread."""
    aim = target(proxy)
    if session_of(aim).is_connected_for(aim.agent):
        result = submit(proxy, name, args, kwargs, options, lazy=False)
    else:
        begin = partial(submit, proxy, name, args, kwargs, options, lazy=False)
        result = await _begun(begin, AsyncResult.cancel)
    return await result


async def _begun(begin: Callable[[], T], give_up: Callable[[T], object]) -> T:
    """What ``begin`` gives, in a thread; given up where who waits for it is cancelled meanwhile.

    It may be on its way by then: nobody would have what came of it.
    """
    made: list[T] = []
    unwanted = threading.Event()

    def work() -> T:
        made.append(begin())
        if unwanted.is_set():
            give_up(made[0])
        return made[0]

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        unwanted.set()
        for each in made:
            give_up(each)
        raise


class _LazyStream:
    """A stream that is opened, in a thread, when it is first read."""

    def __init__(self, proxy: Any, name: str, args: Any, kwargs: Any, options: Any) -> None:
        self._make = lambda: stream(proxy, name, args, kwargs, options)
        self._stream: Any = None

    def __aiter__(self) -> _LazyStream:
        return self

    async def __anext__(self) -> Any:
        if self._stream is None:
            self._stream = await _begun(self._make, Stream.close)
        return await self._stream.__anext__()

    async def aclose(self) -> None:
        """Read no more; the generator in the agent is closed."""
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> _LazyStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def id(self) -> str | None:
        """See ``Stream.id``; ``None`` before the first item."""
        return None if self._stream is None else str(self._stream.id)

    @property
    def offset(self) -> int:
        """See ``Stream.offset``."""
        return 0 if self._stream is None else int(self._stream.offset)


class AioAgent:
    """A hosted agent for asyncio: every method awaitable, every stream ``async for``.

    Attributes: ``await agentd.aio.read(agent, "name")`` and ``await agentd.aio.write(agent, "name",
    value)``, as an assignment cannot be awaited.
    """

    __slots__ = ("_proxy",)

    def __init__(self, proxy: RpcObject) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> AioMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        return AioMethod(self._proxy, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The agent's own ``__call__``."""
        return AioMethod(self._proxy, "__call__")(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<aio {self._proxy!r}>"


async def read(agent: Any, name: str) -> Any:
    """An attribute of a hosted agent."""
    return await asyncio.to_thread(getattr, _proxy_of(agent), name)


async def write(agent: Any, name: str, value: Any) -> None:
    """Set an attribute of a hosted agent."""
    await asyncio.to_thread(setattr, _proxy_of(agent), name, value)


def _proxy_of(agent: Any) -> Any:
    return object.__getattribute__(agent, "_proxy") if type(agent) is AioAgent else agent


class AioClient:
    """A daemon for asyncio: the methods of ``Client``, awaitable; ``get`` gives an ``AioAgent``."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def get(self, id_or_name: str) -> AioAgent:
        """The agent of that name or id."""
        return aio(await asyncio.to_thread(self.client.get, id_or_name))

    async def create(self, path: str, /, *args: Any, **kwargs: Any) -> AioAgent:
        """As ``Client.create``."""
        return aio(await asyncio.to_thread(self.client.create, path, *args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def __aenter__(self) -> AioClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()


def aio(agent: Any) -> AioAgent:
    """The agent for asyncio; raises ``ConfigError`` for what is not hosted."""
    if type(agent) is AioAgent:
        return agent
    if not issubclass(type(agent), RpcObject):
        raise ConfigError(f"a {type(agent).__name__} is not a hosted agent")
    return AioAgent(agent)


async def connect(endpoint: str | None = None, **options: Any) -> AioClient:
    """As ``agentd.connect``."""
    return AioClient(await asyncio.to_thread(blocking_connect, endpoint, **options))


class _CallableModule(types.ModuleType):
    """``agentd.aio`` is this module, and ``agentd.aio(agent)`` its function of that name."""

    # For type checkers, to whom no module is callable; the module's own names come first.
    connect = staticmethod(connect)
    read = staticmethod(read)
    write = staticmethod(write)

    def __call__(self, agent: Any) -> AioAgent:
        return aio(agent)


module = cast(_CallableModule, sys.modules[__name__])
module.__class__ = _CallableModule
