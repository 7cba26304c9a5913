"""How agents, results and files travel, as a worker sees it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from agentd import serialization
from agentd.client.context import current
from agentd.client.fetching import Outcome
from agentd.client.files import File, FileReference
from agentd.client.references import FILE, RESULT, References
from agentd.errors import AgentdError, DecodeError, ResultExpired, from_wire
from agentd.protocol.messages import Error, Result
from agentd.worker.files import Files
from agentd.worker.terms import OWN, Terms

if TYPE_CHECKING:
    from agentd.worker.hosted import Hosted

__all__ = ["CallReferences", "GuestReferences", "HostReferences", "open_outcome"]


class HostReferences(References):
    """As in a client; and a hosted agent that passes itself passes a reference, too."""

    def __init__(self, endpoint: str, agents: Mapping[bytes, Hosted]) -> None:
        """``agents``: those of this worker, as they are at any time."""
        self._endpoint = endpoint
        self._agents = agents
        self._leaving: dict[bytes, Hosted] = {}
        """They are none of this worker any more, though their code may still run."""
        self.files = Files()
        self._hosted: dict[int, Hosted] = {}
        """By the identity of its object."""
        self.being_made: dict[bytes, str] = {}
        """By agent that has no object yet: the module of its class."""

    def know(self, obj: object, hosted: Hosted) -> None:
        """``obj`` is that agent (from before its ``__init__`` runs)."""
        hosted.object = obj
        self._hosted[id(obj)] = hosted

    def leaves(self, hosted: Hosted) -> None:
        """The agent ends: it is no longer among those of this worker."""
        self._leaving[hosted.id] = hosted

    def forget(self, hosted: Hosted) -> None:
        """The agent is gone, or could not be built; before its object is let go."""
        self._leaving.pop(hosted.id, None)
        self._hosted.pop(id(hosted.object), None)
        self.files.forget(hosted.id)

    def proxy_of(self, hosted: Hosted) -> object:
        """A proxy, for an agent of this worker too."""
        name = hosted.name
        return super().from_wire((hosted.id, self._endpoint, hosted.cls, name, None, None, None))

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """The reference, if the object is a proxy or hosted here."""
        hosted = self._hosted.get(id(obj))
        if hosted is not None and hosted.object is obj:
            about = hosted.describe(obj)
            return (hosted.id, self._endpoint, hosted.cls, hosted.name, about, None, None)
        if issubclass(type(obj), File):
            return self._file_to_wire(cast(File, obj))
        return super().to_wire(obj)

    def _file_to_wire(self, file: File) -> tuple[Any, ...] | None:
        """The reference; to a file of this host on behalf of the agent whose code runs."""
        running = current()
        owner = file.maker if running is None else (running.agent, running.epoch)
        if file.reference is not None or owner is None:
            return file.agentd_reference()
        agent, epoch = owner
        try:
            token, size = self.files.offer(agent, os.fspath(file))
        except OSError as error:
            raise serialization.Refusal(error) from error
        return FileReference(token, agent, self._endpoint, epoch, file.name, size).wire()

    def _own_file(self, wire: tuple[Any, ...], agent: bytes) -> File | None:
        """The file itself, if the agent whose code runs returned it and it is still known."""
        found = FileReference.read(wire)
        if found.agent != agent:
            return None
        try:
            return File.of_agent(self.files.find(agent, found.token), found)
        except ResultExpired:
            return None  # reading it will say so

    def on_terms(self, terms: Terms) -> HostReferences | GuestReferences:
        """The same, for payloads that come on those terms."""
        return GuestReferences(self) if terms.guest else self

    def resolving(self, outcomes: Mapping[bytes, Outcome], terms: Terms) -> CallReferences:
        """The same, for a payload whose results of other calls have been fetched."""
        return CallReferences(self.on_terms(terms), outcomes, terms)

    @property
    def endpoint(self) -> str:
        """Where the daemon of this worker is found."""
        return self._endpoint

    def make_dataclass(self, module: str, qualname: str, values: dict[str, Any]) -> object:
        """An instance of a dataclass of the agent's own, by its ``__init__``.

        So whatever it checks is checked. Of its own are those in the top-level package of its
        class, and those that its module knows by a name; nothing is imported for it.
        """
        running = current()
        home = None if running is None else self._home(running.agent)
        cls = serialization.loaded_dataclass(module, qualname)
        if home is None or not _knows(home, cls):
            raise DecodeError(
                f"{module}.{qualname} is no dataclass that this agent's module knows",
                culprit=f"{module}.{qualname}",
            )
        return serialization.construct_dataclass(cls, values)

    def _home(self, agent: bytes) -> str | None:
        """The module of the agent's class; while it is made, of the class that it is made of."""
        obj = self._object(agent)
        return self.being_made.get(agent) if obj is None else str(type(obj).__module__)

    def _object(self, agent: bytes) -> object | None:
        """The object of an agent of this worker, also while its last calls still run."""
        hosted = self._agents.get(agent) or self._leaving.get(agent)
        return None if hosted is None else hosted.object

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The proxy; or the object itself, for the agent whose code is running.

        So ``agent + agent`` works as on any object: by a proxy the agent would wait for itself.
        """
        running = current()
        if running is not None and wire and wire[0] == running.agent:
            obj = self._object(running.agent)
            if obj is not None:
                return obj
        if running is not None and wire and wire[0] == FILE:
            return self._own_file(wire, running.agent) or super().from_wire(wire)
        return super().from_wire(wire)


class GuestReferences:
    """For what a restricted peer sends: it refers to what is at this daemon, and no further.

    A reference to elsewhere would have the agent connect to wherever the peer likes; one to the
    result of a call that the gate has not seen would be read with the agent's own rights.
    """

    def __init__(self, hosts: HostReferences) -> None:
        self._hosts = hosts

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As in the worker."""
        return self._hosts.to_wire(obj)

    def make_dataclass(self, module: str, qualname: str, values: dict[str, Any]) -> object:
        """As in the worker."""
        return self._hosts.make_dataclass(module, qualname, values)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """Agents and files of this daemon, whatever the reference says of where they are."""
        here = self._hosts.endpoint
        match wire:
            case ("file", token, agent, _endpoint, epoch, name, size):
                return self._hosts.from_wire((FILE, token, agent, here, epoch, name, size))
            case ("secret", _name):
                return self._hosts.from_wire(wire)
            case (bytes(agent), str(), str(), *_rest):
                return self._hosts.from_wire((agent, here, "agent", None, None, None, None))
        raise DecodeError("a reference to something that this client has not made known")


class CallReferences:
    """While a call's payload is read: references to results are the results themselves."""

    def __init__(
        self,
        hosts: HostReferences | GuestReferences,
        outcomes: Mapping[bytes, Outcome],
        terms: Terms = OWN,
    ) -> None:
        self._hosts = hosts
        self._outcomes = outcomes
        self._terms = terms
        self._values: dict[bytes, Any] = {}

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As in the worker."""
        return self._hosts.to_wire(obj)

    def make_dataclass(self, module: str, qualname: str, values: dict[str, Any]) -> object:
        """As in the worker."""
        return self._hosts.make_dataclass(module, qualname, values)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The value of the result, one object however often it is meant; else as in the worker."""
        if wire and wire[0] == RESULT and wire[1] in self._outcomes:
            key = wire[1]
            if key not in self._values:
                self._values[key] = open_outcome(
                    self._outcomes[key], self, data_only=not self._terms.code
                )
            return self._values[key]
        return self._hosts.from_wire(wire)


def open_outcome(outcome: Outcome, refs: Any, *, data_only: bool = False) -> Any:
    """The value; raises the error."""
    message, payload = outcome
    head, *buffers = payload or (b"",)
    if isinstance(message, Result):
        return serialization.decode(
            message.codec, head, buffers, refs=refs, data_only=data_only, may_import=True
        )
    assert isinstance(message, Error)
    if message.code == "raised":
        raise serialization.decode_error(
            message.facts, message.codec, head, buffers, refs=refs, data_only=data_only
        )
    error: AgentdError = from_wire(message.code, message.message, message.facts)
    raise error


def _knows(home: str, cls: type) -> bool:
    """Whether a module knows the class: by a name of its own, or as of the same package."""
    if cls.__module__.partition(".")[0] == home.partition(".")[0]:
        return True
    names = vars(sys.modules[home]) if home in sys.modules else {}
    return any(value is cls for value in list(names.values()))
