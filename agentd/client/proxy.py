"""The proxy: an object that stands for a hosted agent.

A proxy has no public attribute of its own, so that every name means the agent's. What can be done
with the *reference* (its id, deleting it, …) is on ``agentd.handle(proxy)``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentd.client.about import about_class
from agentd.client.specials import UNKNOWN, special, unknown
from agentd.client.target import Target
from agentd.errors import AgentdError

if TYPE_CHECKING:
    from agentd.client.session import Session
    from agentd.protocol.messages import Ready

__all__ = [
    "RpcObject",
    "announce",
    "complete",
    "ensure_ready",
    "make_proxy",
    "reference",
    "session_of",
    "target",
]

_TARGET = "_agentd_target"


@functools.cache
def _method() -> Any:
    """Imported where it is needed first: an import that finds all there costs as much as a call."""
    from agentd.client.method import RemoteMethod

    return RemoteMethod


class RpcObject:
    """Stands for a hosted agent: method calls, attributes and operators reach it.

    Not made by hand: ``Class(..., to_dist=True)``, ``obj.to_dist()`` and ``Client.get`` return
    them. ``isinstance(proxy, Class)`` holds; pickling or copying one gives a reference to the same
    agent. Any use may raise what the agent raises, and ``AgentCreationError``, ``AgentCrashed``,
    ``AgentNotFound`` or a ``TransportError`` (see ``agentd.errors``).
    """

    __slots__ = ("__weakref__", _TARGET)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise _private(self, name)
        methods = target(self).methods
        if methods is None or name not in methods:
            from agentd.client.calling import has_method, operate

            if not has_method(self, name):
                return _already_hosted(self) if name == "to_dist" else operate(self, "get", name)
        return _method()(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise _private(self, name)
        from agentd.client.calling import operate

        operate(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise _private(self, name)
        from agentd.client.calling import operate

        operate(self, "del", name)

    def __dir__(self) -> list[str]:
        from agentd.client.calling import operate

        names: list[str] = operate(self, "dir", "")
        return sorted(names)

    @property  # type: ignore[misc]  # typeshed has a setter, for no good use
    def __class__(self) -> Any:
        return target(self).local or type(self)

    def __repr__(self) -> str:
        aim = target(self)
        name = f" {aim.name!r}" if aim.name else ""
        return f"<agent {aim.cls}{name} {aim.agent.hex()[:8]} at {aim.endpoint}>"

    def __eq__(self, other: object) -> Any:
        if issubclass(type(other), RpcObject):
            return target(self).agent == target(other).agent
        return NotImplemented

    def __hash__(self) -> int:
        return hash(target(self).agent)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restore, (reference(self),)

    def __copy__(self) -> RpcObject:
        return make_proxy(target(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> RpcObject:
        return make_proxy(target(self))


# -- making proxies --------------------------------------------------------------------------------
def target(proxy: object) -> Target:
    """Whom the proxy means."""
    aim: Target = object.__getattribute__(proxy, _TARGET)
    return aim


def reference(proxy: object) -> tuple[Any, ...]:
    """The proxy as plain data, for another process: from now on the daemon knows the agent."""
    aim = target(proxy)
    announce(aim)
    return aim.wire()


def announce(aim: Target) -> None:
    """Make sure that the daemon knows the agent before somebody else is told of it.

    The order to make it may still be on its way, and whoever gets the reference may be faster.
    """
    if aim.creation is not None and not aim.creation[1].done:
        with contextlib.suppress(AgentdError):  # told to whoever uses the reference
            session_of(aim).ping()


_classes: dict[tuple[str, frozenset[str], bool, bool], type[RpcObject]] = {}
"""A proxy class for each set of special methods: Python looks for those on the type."""


def make_proxy(aim: Target) -> RpcObject:
    """A proxy for the target."""
    proxy = object.__new__(_class_for(aim))
    object.__setattr__(proxy, _TARGET, aim)
    return proxy


def complete(proxy: RpcObject) -> None:
    """The agent is ready, so what its class offers is known: give the proxy those operators."""
    cls = _class_for(target(proxy))
    if type(proxy) is not cls:
        _BECOME(proxy, cls)


_BECOME = object.__dict__["__class__"].__set__
"""``proxy.__class__ = …``, which a proxy does not do: it poses as the agent's class."""


def _class_for(aim: Target) -> type[RpcObject]:
    if aim.local is None and aim.about is not None:
        aim.local = _local_class(aim.about)
    about = about_class(aim.local) if aim.local is not None else aim.about
    known = about is not None
    about = about or {}
    specials = frozenset(about.get("specials", ()) if known else UNKNOWN)
    key = (aim.cls.rpartition(":")[2], specials, bool(about.get("unhashable")), known)
    cls = _classes.get(key)
    if cls is None:
        cls = _classes[key] = _proxy_class(*key[:2], unhashable=key[2], known=known)
    return cls


def _proxy_class(
    name: str, specials: frozenset[str], *, unhashable: bool, known: bool
) -> type[RpcObject]:
    body: dict[str, Any] = {"__slots__": (), "__module__": __name__, "__doc__": property(_doc)}
    for each in specials:
        body[each] = special(each) if known else unknown(each)
    if unhashable:
        body["__hash__"] = None
    elif "__eq__" in body and "__hash__" not in body:
        body["__hash__"] = RpcObject.__hash__
    return type(f"RpcObject[{name.rpartition('.')[2]}]", (RpcObject,), body)


def _doc(proxy: RpcObject) -> str | None:
    return getattr(target(proxy).local, "__doc__", None)


def _local_class(about: dict[str, Any]) -> type | None:
    """The class, if this process has loaded it and it is the same one by all that is known."""
    from agentd.serialization import loaded

    # Not by ``getattr``: it is a peer that says what to look up.
    found: Any = loaded(str(about.get("module", "")), str(about.get("qualname", "")))
    if isinstance(found, type) and _offer(about_class(found)) == _offer(about):
        return found
    return None


def _offer(about: dict[str, Any]) -> tuple[Any, ...]:
    """All but the names of modules: ``__main__`` is ``__mp_main__`` to a child process."""
    bases = [str(base).rpartition(":")[2] for base in about.get("bases", ())]
    return about.get("methods"), about.get("specials"), about.get("unhashable"), bases


def _restore(wire: tuple[Any, ...]) -> RpcObject:
    """What a pickled proxy becomes."""
    return make_proxy(Target.from_wire(tuple(wire)))


# -- using them ------------------------------------------------------------------------------------
def session_of(aim: Target) -> Session:
    """This process's dealings with the agent's daemon."""
    session: Session | None = aim.session
    if session is None or not session.alive:
        from agentd.client.runtime import runtime

        session = aim.session = runtime().session_at(aim.endpoint, direct=aim.direct)
    return session


def ensure_ready(aim: Target, deadline: float | None = None) -> Ready:
    """Wait until the agent is ready; raises what kept it from being so."""
    session = session_of(aim)
    creation = aim.creation
    if creation is not None:
        ready = session.places.settle(aim.agent, creation, deadline)
        aim.creation = None
    else:
        ready = session.places.of(aim.agent, deadline)
    if aim.about is None and ready.about:  # else the class itself is here
        aim.about = ready.about
    return ready


def _already_hosted(proxy: RpcObject) -> Callable[..., RpcObject]:
    def to_dist(*args: Any, **options: Any) -> RpcObject:
        """The agent is hosted already: it stays where it is."""
        if options or any(a is not True for a in args):
            from agentd.errors import ConfigError

            raise ConfigError(f"{proxy!r} is hosted already and does not move")
        return proxy

    return to_dist


def _private(proxy: RpcObject, name: str) -> AttributeError:
    return AttributeError(
        f"{target(proxy).cls.rpartition(':')[2]!r} object has no attribute {name!r} here: names "
        "with a leading underscore stay private to the agent",
        name=name,
        obj=proxy,
    )
