"""``RpcMeta``: classes whose instances can be hosted by one keyword."""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Never, Self, TypeVar, overload

from agentd.client.about import ASYNC_MARK, EXPOSE_MARK, IDEMPOTENT_MARK, READONLY_MARK

if TYPE_CHECKING:
    from agentd.client.options import ToDist

__all__ = ["Agent", "RpcMeta", "async_func", "expose", "idempotent", "readonly", "sync_func"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def _begin() -> Callable[[], None]:
    """Imported when it is needed, and then known: to import costs a creation 0.5 us each time."""
    from agentd.client.runtime import begin

    return begin


@functools.cache
def _construction() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from agentd.client.creation import construct
    from agentd.client.options import options_of

    return construct, options_of


class RpcMeta(ABCMeta):
    """A metaclass: ``Class(..., to_dist=True)`` hosts the instance in a daemon.

    With ``to_dist`` absent, ``None`` or ``False`` the call is a plain construction. Otherwise
    nothing of the class runs here: the class reference and the arguments travel, ``__init__`` runs
    once, in a worker of the daemon, and a proxy is returned at once (see ``RpcObject``).
    ``to_dist`` may be ``True``, an endpoint, a dict of options, or a ``DistConf``; it is never
    changed. Each class also gets a method ``to_dist`` (unless it has one of its own), which hosts
    an existing object with its state.
    """

    def __init__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(name, bases, body, **more)
        if not hasattr(cls, "to_dist"):
            setattr(cls, "to_dist", to_dist)  # noqa: B010 - a checker would take it for the type

    # The two overloads are for type checkers: `T | Any` keeps them from checking `to_dist` against
    # `__init__`, which knows nothing of it, and still completes as T (see docs/typing.md).
    @overload
    def __call__(cls: type[T], *args: Any, to_dist: ToDist, **kwargs: Any) -> T | Any: ...
    @overload
    def __call__(cls: type[T], *args: Any, to_dist: Never = ..., **kwargs: Any) -> T: ...
    def __call__(cls, *args: Any, to_dist: Any = None, **kwargs: Any) -> Any:
        """Construct here, or host in a daemon."""
        if to_dist is None or to_dist is False:
            return super().__call__(*args, **kwargs)
        if to_dist is True:
            _begin()()  # the daemon starts while this process imports what follows
        construct, options_of = _construction()
        return construct(cls, args, kwargs, options_of(to_dist))


def to_dist(self: Any, conf: ToDist = True, /, **options: Any) -> Any:  # noqa: FBT002 - as in Class(..., to_dist=True)
    """Host this object, as it is now, in a daemon; returns the proxy.

    ``conf`` as in ``Class(..., to_dist=conf)``; ``options`` are fields of ``DistConf`` and win.
    ``__init__`` does not run again. The object here stays as it is and lives its own life.

    Raises ``SerializationError``, before anything was sent, naming what cannot travel.
    """
    if conf is None or conf is False:
        return self
    from agentd.client.creation import adopt
    from agentd.client.options import options_of

    return adopt(self, options_of(conf, **options))


class Agent(metaclass=RpcMeta):
    """Base of classes whose instances can be hosted; the same as ``metaclass=RpcMeta``."""

    if TYPE_CHECKING:

        def to_dist(
            self,
            conf: ToDist = True,  # noqa: FBT002 - as in Class(..., to_dist=True)
            /,
            *,
            endpoint: str | None = None,
            host: str | None = None,
            port: int | None = None,
            name: str | None = None,
            lifetime: Literal["client", "daemon"] | None = None,
            worker: Literal["shared", "dedicated"] = "shared",
            get_if_exists: bool = False,
        ) -> Self:
            """Host this object, as it is now, in a daemon; returns the proxy."""


def async_func(function: F) -> F:
    """Mark a method: a plain call of it through a proxy returns an ``AsyncResult`` at once."""
    setattr(function, ASYNC_MARK, True)
    return function


def sync_func(function: F) -> F:
    """Mark a method as blocking, which is the default; for special methods and for clarity."""
    setattr(function, ASYNC_MARK, False)
    return function


def readonly(function: F) -> F:
    """Mark a method that changes nothing: it may run beside the agent's other calls, at once."""
    setattr(function, READONLY_MARK, True)
    return function


def idempotent(function: F) -> F:
    """Mark a method that may safely run twice: ``Retry`` repeats it after a crash, too."""
    setattr(function, IDEMPOTENT_MARK, True)
    return function


def expose(function: F) -> F:
    """Mark a method as meant for callers: of its class, nothing but marked methods can be called.

    By nobody: it is no matter of roles. A method that overrides a marked one is marked, too.
    Without any mark all public methods, and the special ones that the class defines, can be called.
    """
    setattr(function, EXPOSE_MARK, True)
    return function
