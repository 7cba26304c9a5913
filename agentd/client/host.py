"""``agentd.host``: classes that are not ours, whatever their metaclass."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast, overload

from agentd.client.options import ToDist, options_of

__all__ = ["Hostable", "HostableObject", "host"]

T = TypeVar("T")


class Hostable(Generic[T]):
    """A class that can be hosted: call it like the class, with ``to_dist``."""

    def __init__(self, cls: type[T]) -> None:
        self._cls = cls

    def __call__(self, *args: Any, to_dist: ToDist = None, **kwargs: Any) -> T:
        """``cls(*args, **kwargs)``, here, or with ``to_dist`` in a daemon (see ``RpcMeta``)."""
        if to_dist is None or to_dist is False:
            return self._cls(*args, **kwargs)
        from agentd.client.creation import construct

        return cast(T, construct(self._cls, args, kwargs, options_of(to_dist)))

    def __repr__(self) -> str:
        return f"agentd.host({self._cls.__qualname__})"


class HostableObject(Generic[T]):
    """An object that can be hosted as it is now."""

    def __init__(self, obj: T) -> None:
        self._obj = obj

    def to_dist(self, conf: ToDist = True, /, **options: Any) -> T:  # noqa: FBT002 - as elsewhere
        """Move it to a daemon, with its state (see ``Agent.to_dist``)."""
        if conf is None or conf is False:
            return self._obj
        from agentd.client.creation import adopt

        return cast(T, adopt(self._obj, options_of(conf, **options)))

    def __repr__(self) -> str:
        return f"agentd.host({self._obj!r})"


@overload
def host(what: type[T], /) -> Hostable[T]: ...  # type: ignore[overload-overlap]  # a class is an object
@overload
def host(what: T, /) -> HostableObject[T]: ...
def host(what: Any, /) -> Any:
    """Make any class or object hostable.

    ``agentd.host(SomeClass)(*args, to_dist=True)`` and ``agentd.host(obj).to_dist()`` give the same
    proxies as classes of ``RpcMeta`` do: pydantic models, dataclasses, agents of other frameworks.
    The class is left as it is.
    """
    return Hostable(what) if isinstance(what, type) else HostableObject(what)
