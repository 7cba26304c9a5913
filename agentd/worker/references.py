"""How agents, results and files travel, as a worker sees it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from agentd import serialization
from agentd.client.context import current
from agentd.client.fetching import Outcome
from agentd.client.files import File, FileReference
from agentd.client.references import FILE, RESULT, References
from agentd.errors import AgentdError, ResultExpired, from_wire
from agentd.protocol.messages import Error, Result
from agentd.worker.files import Files

if TYPE_CHECKING:
    from agentd.worker.hosted import Hosted

__all__ = ["CallReferences", "HostReferences", "open_outcome"]


class HostReferences(References):
    """As in a client; and a hosted agent that passes itself passes a reference, too."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.files = Files()
        self._hosted: dict[int, tuple[Hosted, Any]] = {}
        self._objects: dict[bytes, dict[int, Any]] = {}
        """By agent: its object, by identity (two for a moment, should ``__new__`` give another)."""

    def know(self, obj: object, hosted: Hosted, name: str | None) -> None:
        """``obj`` is that agent (from before its ``__init__`` runs)."""
        self._hosted[id(obj)] = (hosted, (obj, name))
        self._objects.setdefault(hosted.id, {})[id(obj)] = obj

    def forget(self, hosted: Hosted) -> None:
        """The agent is gone."""
        for key in self._objects.pop(hosted.id, ()):
            self._hosted.pop(key, None)
        self.files.forget(hosted.id)

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """The reference, if the object is a proxy or hosted here."""
        found = self._hosted.get(id(obj))
        if found is not None and found[1][0] is obj:
            hosted, (_, name) = found
            return (hosted.id, self._endpoint, hosted.cls, name, hosted.describe(obj), None, None)
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

    def resolving(self, outcomes: Mapping[bytes, Outcome]) -> CallReferences:
        """The same, for a payload whose results of other calls have been fetched."""
        return CallReferences(self, outcomes)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The proxy; or the object itself, for the agent whose code is running.

        So ``agent + agent`` works as on any object: by a proxy the agent would wait for itself.
        """
        running = current()
        if running is not None and wire and wire[0] == running.agent:
            for obj in list(self._objects.get(running.agent, {}).values()):
                return obj
        if running is not None and wire and wire[0] == FILE:
            return self._own_file(wire, running.agent) or super().from_wire(wire)
        return super().from_wire(wire)


class CallReferences:
    """While a call's payload is read: references to results are the results themselves."""

    def __init__(self, hosts: HostReferences, outcomes: Mapping[bytes, Outcome]) -> None:
        self._hosts = hosts
        self._outcomes = outcomes
        self._values: dict[bytes, Any] = {}

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """As in the worker."""
        return self._hosts.to_wire(obj)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The value of the result, one object however often it is meant; else as in the worker."""
        if wire and wire[0] == RESULT and wire[1] in self._outcomes:
            key = wire[1]
            if key not in self._values:
                self._values[key] = open_outcome(self._outcomes[key], self)
            return self._values[key]
        return self._hosts.from_wire(wire)


def open_outcome(outcome: Outcome, refs: Any) -> Any:
    """The value; raises the error."""
    message, payload = outcome
    head, *buffers = payload or (b"",)
    if isinstance(message, Result):
        return serialization.decode(message.codec, head, buffers, refs=refs, may_import=True)
    assert isinstance(message, Error)
    if message.code == "raised":
        raise serialization.decode_error(message.facts, message.codec, head, buffers, refs=refs)
    error: AgentdError = from_wire(message.code, message.message, message.facts)
    raise error
