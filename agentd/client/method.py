"""A method of a hosted agent, and the ways to call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentd.client.about import COROUTINE, GENERATOR, MARKED_ASYNC
from agentd.client.calling import DEFAULT, CallOptions, call, flags, oneway, stream, submit
from agentd.client.proxy import RpcObject, target
from agentd.errors import ConfigError

if TYPE_CHECKING:
    from agentd.client.results import AsyncResult
    from agentd.client.streaming import Stream

__all__ = ["RemoteMethod"]


class RemoteMethod:
    """``agent.ask(x)`` waits; ``.submit(x)``, ``.stream(x)`` and ``.oneway(x)`` do not.

    Any of them may raise what is told at ``RpcObject``, and ``CallTimeout``, ``CallCancelled``,
    ``Overloaded``, ``WouldDeadlock``.
    """

    __slots__ = ("_name", "_options", "_proxy")

    def __init__(self, proxy: RpcObject, name: str, options: CallOptions = DEFAULT) -> None:
        self._proxy = proxy
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and wait for the value.

        A method marked ``@agentd.async_func`` and an ``async def`` method give an ``AsyncResult``
        at once, a generator method a ``Stream``.
        """
        kind = flags(self._proxy, self._name, self._options.timeout)
        if kind & GENERATOR:
            # As in Python, nothing of a generator runs before its first item is asked for.
            return stream(self._proxy, self._name, args, kwargs, self._options, now=False)
        if kind & (MARKED_ASYNC | COROUTINE):
            return submit(self._proxy, self._name, args, kwargs, self._options)
        return call(self._proxy, self._name, args, kwargs, self._options)

    def submit(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Call it without waiting: an ``AsyncResult`` at once."""
        return submit(self._proxy, self._name, args, kwargs, self._options)

    def stream(self, *args: Any, **kwargs: Any) -> Stream:
        """Call it and read its items as they come, with ``for`` or ``async for``."""
        return stream(self._proxy, self._name, args, kwargs, self._options)

    def oneway(self, *args: Any, **kwargs: Any) -> None:
        """Call it and return when it is accepted; what becomes of it is in the agent's log."""
        oneway(self._proxy, self._name, args, kwargs, self._options)

    def options(self, **options: Any) -> RemoteMethod:
        """The same method with options: ``timeout`` (s), ``retry``, ``key``, ``credit``."""
        for name in options:
            if name not in CallOptions._fields:
                import difflib

                near = difflib.get_close_matches(name, CallOptions._fields, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"a call has no option {name!r}{hint}")
        return RemoteMethod(self._proxy, self._name, self._options._replace(**options))

    @property
    def call_options(self) -> CallOptions:
        """What ``options`` set."""
        return self._options

    @property
    def __name__(self) -> str:
        return self._name

    @property
    def __self__(self) -> RpcObject:
        return self._proxy

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        local = target(self._proxy).local
        return getattr(getattr(local, self._name, None), "__doc__", None)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # what ``inspect.signature`` looks at
            local = target(self._proxy).local
            if local is not None:
                return getattr(local, self._name)
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RemoteMethod)
            and self._name == other._name
            and target(self._proxy).agent == target(other._proxy).agent
        )

    def __hash__(self) -> int:
        return hash((target(self._proxy).agent, self._name))

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._proxy!r}>"

    def __reduce__(self) -> Any:
        return RemoteMethod, (self._proxy, self._name, self._options)
