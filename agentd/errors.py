"""Every error agentd raises, in one tree.

    AgentdError
    ├─ ConfigError                 a setting, an option or an argument is wrong
    │  └─ SecretNotFound           a secret has no value where the daemon runs
    ├─ AuditFailed                 it cannot be written down, so it was not done
    ├─ ProtocolError               a message that the protocol does not allow
    │  ├─ PayloadTooLarge          a message is larger than the daemon takes
    │  └─ VersionMismatch          two peers, or a payload and its reader, do not share a version
    ├─ NotAllowed                  the roles of who asks do not go so far
    ├─ SerializationError          a value cannot travel
    │  ├─ CodecNotAllowed          a payload that may run code, where only plain data is taken
    │  └─ DecodeError              a value arrived that cannot be rebuilt here
    ├─ TransportError              the way to the peer
    │  ├─ DaemonNotFound           nobody listens at the endpoint
    │  ├─ ConnectionLost           the peer went away or fell silent
    │  ├─ AuthenticationFailed     a key is not known, or not the one that was expected
    │  └─ EndpointInUse            another daemon owns the endpoint
    ├─ AgentError                  one agent
    │  ├─ AgentNotFound            no such agent, or it ended: when and why
    │  ├─ AgentCreationError       its ``__init__`` (or its unpickling) failed
    │  ├─ AgentCrashed             the worker that hosted it died during the call
    │  ├─ StateConflict            an attribute has another version than was expected
    │  └─ NameTaken                another agent has that name
    └─ CallError                   one call
       ├─ CallTimeout              not done in time
       ├─ CallCancelled            given up by its caller
       ├─ OutcomeUnknown           the connection broke, and nobody knows what became of it
       ├─ Overloaded               the agent, or the daemon, has too much waiting
       ├─ WouldDeadlock            the call would wait for itself
       ├─ ResultExpired            the result, part of a stream, or file is not there any more
       ├─ Draining                 the daemon is stopping and takes nothing new
       └─ RemoteError              the agent raised a type that this process does not know

Each class has a ``code`` that is stable and travels in the message header; the facts of an error
are attributes (``facts`` is all of them), so that programs need not read the sentence.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AgentCrashed",
    "AgentCreationError",
    "AgentError",
    "AgentNotFound",
    "AgentdError",
    "AuditFailed",
    "AuthenticationFailed",
    "CallCancelled",
    "CallError",
    "CallTimeout",
    "CodecNotAllowed",
    "ConfigError",
    "ConnectionLost",
    "DaemonNotFound",
    "DecodeError",
    "Draining",
    "EndpointInUse",
    "NameTaken",
    "NotAllowed",
    "OutcomeUnknown",
    "Overloaded",
    "PayloadTooLarge",
    "ProtocolError",
    "RemoteError",
    "ResultExpired",
    "SecretNotFound",
    "SerializationError",
    "StateConflict",
    "TransportError",
    "VersionMismatch",
    "WouldDeadlock",
    "from_wire",
]


class AgentdError(Exception):
    """Base of all errors of agentd.

    ``message`` is one sentence for a person; ``facts`` are plain values for a program, each of
    which is also an attribute (one that this error does not carry is ``None``).
    """

    code: ClassVar[str] = "AgentdError"

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts), self.__dict__

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[AgentdError], message: str, facts: dict[str, Any]) -> AgentdError:
    return cls(message, **facts)


class ConfigError(AgentdError):
    """A setting, an option or an argument is wrong. The message names the right one."""

    code = "ConfigError"


class SecretNotFound(ConfigError):
    """A secret has no value where it was looked for. ``secret`` is its name."""

    code = "SecretNotFound"
    secret: str | None = None


class AuditFailed(AgentdError):
    """An action that has to be written down cannot be, and was not done: the disk is full, say.

    ``action`` is what was refused. Calls go on.
    """

    code = "AuditFailed"
    action: str | None = None


class ProtocolError(AgentdError):
    """A message that the protocol does not allow. The connection stays usable."""

    code = "ProtocolError"


class PayloadTooLarge(ProtocolError):
    """A message is larger than the daemon takes; nothing was done.

    ``limit`` and ``size`` are in bytes; ``setting`` is the daemon's setting that says so.
    """

    code = "PayloadTooLarge"
    limit: int | None = None
    size: int | None = None
    setting: str | None = None


class VersionMismatch(ProtocolError):
    """Two peers, or a payload and its reader, do not share a version. Both are named."""

    code = "VersionMismatch"
    local: str | None = None
    remote: str | None = None


class NotAllowed(AgentdError):
    """The roles of ``who`` do not allow ``action`` on ``target``; nothing was done.

    ``role`` names those that would. Whether the target exists is not told.
    """

    code = "NotAllowed"
    who: str | None = None
    action: str | None = None
    target: str | None = None
    role: str | None = None


class SerializationError(AgentdError):
    """A value cannot travel; nothing was sent.

    ``path`` names the part at fault (``self.index.conn``), ``culprit`` its type.
    """

    code = "SerializationError"
    path: str | None = None
    culprit: str | None = None


class CodecNotAllowed(SerializationError):
    """A payload that may run code (pickle, dill), where only plain data is taken or read.

    ``codec`` is that of the payload. The message tells who would have to allow it, and how.
    """

    code = "CodecNotAllowed"
    codec: str | None = None


class DecodeError(SerializationError):
    """A value arrived that cannot be rebuilt here."""

    code = "DecodeError"


class TransportError(AgentdError):
    """The way to the peer is at fault, not the agent and not the call."""

    code = "TransportError"
    endpoint: str | None = None


class DaemonNotFound(TransportError):
    """Nobody listens at the endpoint."""

    code = "DaemonNotFound"


class ConnectionLost(TransportError):
    """The peer went away or fell silent. Whether the call ran is not known."""

    code = "ConnectionLost"


class AuthenticationFailed(TransportError):
    """One side does not know the other's key, or it is not the one that was expected.

    Nothing was sent. The message names the command that lets the key in, or pins it.
    """

    code = "AuthenticationFailed"


class TooLate(TransportError):
    """A request came so late that its sender may have given it up; it was not carried out.

    After a pause of the peer or of the network. Calls are sent again by themselves.
    """

    code = "TooLate"


class EndpointInUse(TransportError):
    """Another daemon owns the endpoint."""

    code = "EndpointInUse"


class AgentError(AgentdError):
    """Something about one agent. ``agent`` is its id, ``name`` its name if it has one."""

    code = "AgentError"
    agent: str | None = None
    name: str | None = None


class AgentNotFound(AgentError):
    """No such agent here. ``reason`` and ``ended_at`` (seconds since 1970) tell how it ended."""

    code = "AgentNotFound"
    reason: str | None = None
    ended_at: float | None = None


class AgentCreationError(AgentError):
    """The agent could not be built. ``__cause__`` is the original exception."""

    code = "AgentCreationError"
    cls: str | None = None


class AgentCrashed(AgentError):
    """The worker that hosted the agent died while the call was open.

    ``exit_code`` or ``signal`` (its name) say how, ``stderr_tail`` has its last lines. Whether the
    call ran is not known, so nothing repeats it by itself.
    """

    code = "AgentCrashed"
    exit_code: int | None = None
    signal: str | None = None
    stderr_tail: str | None = None
    worker: str | None = None


class StateConflict(AgentError):
    """An attribute has another version than the writer expected; nothing was written.

    ``version`` is the present one.
    """

    code = "StateConflict"
    version: int | None = None


class NameTaken(AgentError):
    """Another agent of that daemon has the name (``get_if_exists=True`` takes that one)."""

    code = "NameTaken"


class CallError(AgentdError):
    """Something about one call."""

    code = "CallError"
    agent: str | None = None
    method: str | None = None


class CallTimeout(CallError, TimeoutError):
    """Not done in time. ``timeout`` is the limit, in seconds."""

    code = "CallTimeout"
    timeout: float | None = None


class CallCancelled(CallError):
    """The call was given up by its caller, or made way for an interrupting one.

    In the agent's own code this is raised at the next opportunity; an ``async def`` method sees
    ``asyncio.CancelledError``.
    """

    code = "CallCancelled"


class OutcomeUnknown(CallError):
    """The connection broke during the call, and its worker does not remember what became of it.

    ``started`` is True if it ran, None if even that is not known. Nothing repeats it by itself.
    """

    code = "OutcomeUnknown"
    started: bool | None = None


class Overloaded(CallError):
    """The agent has too many calls waiting, or takes none while it is busy; nothing was started.

    Or what this client, the agent or the daemon has in flight is as much as a limit of the daemon
    allows: ``setting`` names that one. ``limit`` is the number it takes, ``retry_after`` a hint in
    seconds.
    """

    code = "Overloaded"
    limit: int | None = None
    retry_after: float | None = None
    setting: str | None = None


class WouldDeadlock(CallError):
    """The call came back to an agent that waits for it. ``chain`` names the agents, in order.

    ``reentrant=True`` lets such calls run as part of the agent's present turn.
    """

    code = "WouldDeadlock"
    chain: list[str] | None = None


class ResultExpired(CallError):
    """The result, part of a stream, or file is not there any more; the call is not repeated.

    ``reason`` is set for files: ``forgotten`` (the worker knows no such file, or not any more),
    ``gone`` (removed since it was returned), ``changed`` (no longer what was returned).
    """

    code = "ResultExpired"
    reason: str | None = None


class Draining(CallError):
    """The daemon is stopping: it finishes what it has and takes nothing new."""

    code = "Draining"


class RemoteError(CallError):
    """The agent raised an exception of a type that this process does not know.

    ``type_name`` is that type (``package.module.Name``), ``traceback`` the remote traceback as
    text.
    """

    code = "RemoteError"
    type_name: str | None = None
    traceback: str | None = None


def _tree(cls: type[AgentdError]) -> dict[str, type[AgentdError]]:
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found.update(_tree(sub))
    return found


_BY_CODE = _tree(AgentdError)
_TAKEN = frozenset({"self", "message", "facts", "code", "args", "add_note", "with_traceback"})


def from_wire(code: str, message: str, facts: dict[str, Any]) -> AgentdError:
    """The error a peer reported. A code of a newer peer becomes the base class, its code kept."""
    cls = _BY_CODE.get(code)
    # Facts become attributes: none of them may take the place of what every exception has.
    facts = {k: v for k, v in facts.items() if type(k) is str and k not in _TAKEN and k[:1] != "_"}
    if cls is None:
        return AgentdError(f"{code}: {message}", **facts)
    return cls(message, **facts)
