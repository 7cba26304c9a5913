"""``async def`` methods: awaited on one event loop per worker, while the agent keeps its turn."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from agentd.client.context import CurrentCall, current

if TYPE_CHECKING:
    import asyncio

__all__ = ["event_loop", "is_async", "settle"]

_lock = threading.Lock()  # protects the making of the loop
_loop: asyncio.AbstractEventLoop | None = None


def is_async(value: Any) -> bool:
    """Whether the value is a coroutine or an async generator: something to be settled first."""
    return inspect.iscoroutine(value) or inspect.isasyncgen(value)


def settle(value: Any) -> Any:
    """The coroutine's result, or an iterator over the async generator's items."""
    if inspect.isasyncgen(value):
        return _items(value)
    return _wait(value)


def _items(source: AsyncIterator[Any]) -> Iterator[Any]:
    try:
        while True:
            try:
                item = _wait(anext(source))
            except StopAsyncIteration:
                return
            yield item
    finally:
        # Undisturbed, also when it is the cancellation that closes it.
        _result(source.aclose(), None)  # type: ignore[attr-defined]


def _wait(awaitable: Any) -> Any:
    return _result(awaitable, current())


def _result(awaitable: Any, call: CurrentCall | None) -> Any:
    import asyncio

    async def run() -> Any:
        return await awaitable

    future = asyncio.run_coroutine_threadsafe(run(), event_loop())
    if call is None:
        return future.result()
    # A thread that waits for a future hears of nothing else: the call's cancellation has to reach
    # the task itself.
    token = b"task" + id(future).to_bytes(8, "little")
    call.adopt(token, _cancel(future))
    try:
        return future.result()
    finally:
        call.disown(token)


def _cancel(future: Any) -> Callable[[], None]:
    def cancel() -> None:
        future.cancel()

    return cancel


def event_loop() -> asyncio.AbstractEventLoop:
    """The worker's one event loop, started when first needed."""
    global _loop  # noqa: PLW0603 - one per process, made when first needed
    import asyncio

    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="agentd-asyncio", daemon=True).start()
        return _loop
