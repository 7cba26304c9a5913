"""How agents travel inside values: as references, never as copies. So do results, files, secrets.

On the wire a reference to an agent is ``(agent id, endpoint of its daemon, "pkg.mod:Class", name,
about, timeout, retry)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentd.client.homes import AtHome
from agentd.client.proxy import RpcObject, make_proxy, reference
from agentd.client.target import Target
from agentd.errors import DecodeError

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon

__all__ = [
    "FILE",
    "RESULT",
    "SECRET",
    "Collecting",
    "References",
    "active",
    "install",
    "received",
    "sent",
]

RESULT: Final = "result"
"""First in a reference to the outcome of a call (see ``agentd.client.fetching``)."""
FILE: Final = "file"
"""First in a reference to a file (see ``agentd.client.files``)."""
SECRET: Final = "secret"  # noqa: S105 - a word of the protocol
"""First in a reference to a secret (see ``agentd.client.secrets``)."""


class References:
    """What a client knows of references: proxies are some."""

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """The reference: of a proxy, a result not fetched yet, a file elsewhere, a secret."""
        kind = type(obj)
        if issubclass(kind, RpcObject):  # not isinstance: a proxy poses as its class
            return reference(obj)
        result_reference = getattr(kind, "agentd_reference", None)
        if result_reference is not None:
            wire: tuple[Any, ...] | None = result_reference(obj)
            return wire
        return None

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The proxy, the result, the file, or the secret for a reference."""
        if wire and wire[0] == RESULT:
            from agentd.client.results import AsyncResult

            return AsyncResult.fetched(wire)
        if wire and wire[0] == FILE:
            from agentd.client.files import File

            return File.arrived(wire)
        if wire and wire[0] == SECRET:
            from agentd.client.secrets import Secret

            return Secret.arrived(wire)
        try:
            return make_proxy(Target.from_wire(wire))
        except (TypeError, ValueError) as error:
            raise DecodeError("a reference to an agent is malformed") from error


class Collecting:
    """Notes which results a payload refers to, while it is encoded."""

    def __init__(self, inner: References | AtHome) -> None:
        self._inner = inner
        self.results: dict[bytes, Any] = {}
        self.needs: list[tuple[Any, ...]] = []

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As the inner one."""
        wire = self._inner.to_wire(obj)
        if wire is not None and wire[0] == RESULT and wire[1] not in self.results:
            self.results[wire[1]] = obj
            self.needs.append(wire)
        return wire

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """As the inner one."""
        return self._inner.from_wire(wire)


class Relayed:
    """For what comes from an agent that is called through the daemon: so are its files read."""

    def __init__(self, inner: References) -> None:
        self._inner = inner

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As the inner one."""
        return self._inner.to_wire(obj)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """As the inner one, but for files."""
        if wire and wire[0] == FILE:
            from agentd.client.files import File

            return File.arrived(wire, direct=False)
        return self._inner.from_wire(wire)


_active: list[References] = [References()]


def active() -> References:
    """What this process knows of references."""
    return _active[0]


def received(*, direct: bool, daemon: Daemon | None = None) -> References | Relayed | AtHome:
    """The same, for what arrives: ``direct`` as the one it comes from is called.

    ``daemon``: the one from which it comes.
    """
    refs = _active[0] if direct else Relayed(_active[0])
    return refs if daemon is None or daemon.local else AtHome(refs, daemon)


def sent(daemon: Daemon) -> Collecting:
    """The same, for what goes to the agents of that daemon."""
    return Collecting(_active[0] if daemon.local else AtHome(_active[0], daemon))


def install(references: References) -> None:
    """Once, by a worker: it knows the agents that it hosts, too."""
    _active[0] = references
