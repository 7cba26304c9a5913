"""What a call does to an agent, and how its value becomes a payload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack

from agentd import serialization
from agentd.client.redaction import redactions
from agentd.errors import (
    AgentdError,
    CodecNotAllowed,
    NotAllowed,
    ProtocolError,
    SerializationError,
    StateConflict,
)
from agentd.ids import show
from agentd.protocol import fit
from agentd.protocol.messages import Call, Error, Read
from agentd.serialization import Encoded
from agentd.worker import coroutines
from agentd.worker.hosted import Hosted
from agentd.worker.terms import OWN, Terms

__all__ = [
    "Raised",
    "agent_code",
    "arguments",
    "encode_value",
    "failure",
    "from_agent",
    "operate",
    "payload_of",
    "value_of",
    "without_secrets",
]


_GLANCED: Final = frozenset({str, bytes, int, float, bool, type(None)})
_ITERATES: Final = frozenset({"__iter__", "__reversed__"})


def operate(
    hosted: Hosted, call: Call, payload: Any, refs: Any, terms: Terms = OWN
) -> tuple[str, list[Any]]:
    """Do it; the codec and frames of the result. Raises ``Raised`` and ``AgentdError``."""
    name = call.name
    match call.op:
        case "method":
            args, kwargs = arguments(call, payload, refs, terms)
            value = agent_code(hosted.method_for(terms), name, args, kwargs)
            if name in _ITERATES:
                return _iterator(hosted, agent_code(iter, value), terms)
            if type(value) in _GLANCED:  # what most of them are
                head = serialization.plain_value(value)
                if head is not None:
                    return "data", [head]
            return value_of(hosted, value, f"the result of {name}", refs, terms)
        case "next":
            items = agent_code(hosted.iterators.take, _number(name), terms.guest)
            # A list: plain items stay plain, for clients in other languages.
            return value_of(hosted, list(items), "an item of the iterator", refs, terms)
        case "close":
            agent_code(hosted.iterators.close, _number(name), terms.guest)
            return value_of(hosted, None, "", refs, terms)
    if terms.guest:
        raise NotAllowed(
            f"{terms.guest} may not {call.op!r} {name!r} of {hosted.cls}: its role goes as far as "
            "calling methods",
            who=terms.guest,
            action=f"call {call.op}",
            role="deployer",
        )
    return _attribute(hosted, call, payload, refs, terms)


def _attribute(
    hosted: Hosted, call: Call, payload: Any, refs: Any, terms: Terms
) -> tuple[str, list[Any]]:
    """What concerns attributes: for those who may do everything."""
    name = call.name
    match call.op:
        case "get":
            value = agent_code(hosted.get, name)
            if hosted.is_own_method(value):
                return "method", []
            return value_of(hosted, value, f"the attribute {name}", refs, terms)
        case "set":
            head, *buffers = payload
            new = serialization.decode(
                call.codec, head, buffers, refs=refs, data_only=not terms.code, may_import=True
            )
            agent_code(hosted.set, name, new)
            return value_of(hosted, None, "", refs, terms)
        case "del":
            agent_code(hosted.delete, name)
            return value_of(hosted, None, "", refs, terms)
        case "dir":
            return value_of(hosted, agent_code(hosted.names), "its names", refs, terms)
    return _state(hosted, call, payload, refs, terms)


def _state(
    hosted: Hosted, call: Call, payload: Any, refs: Any, terms: Terms
) -> tuple[str, list[Any]]:
    """What concerns the agent's state as such."""
    name = call.name
    match call.op:
        case "look":
            seen = agent_code(hosted.look, name)
            return value_of(hosted, list(seen), f"the attribute {name}", refs, terms)
        case "put":
            head, *buffers = payload
            new, expect = serialization.decode(
                call.codec, head, buffers, refs=refs, data_only=not terms.code, may_import=True
            )
            return value_of(hosted, _put(hosted, name, new, expect), "", refs, terms)
        case "copy":
            if terms.plain:
                raise CodecNotAllowed(
                    f"a copy of {hosted.cls} is a pickle, and only plain data is sent here",
                    codec="pickle",
                )
            return payload_of(serialization.encode_object(hosted.object, refs=refs))
    raise ProtocolError(f"a call cannot be of the kind {call.op!r}")


def _put(hosted: Hosted, name: str, value: Any, expect: int | None) -> int:
    if expect is not None:
        seen = agent_code(hosted.look, name)
        if seen.version != expect:
            raise StateConflict(
                f"{hosted.cls}.{name} has version {seen.version} now, not {expect}: somebody else "
                "changed it; read it again and decide anew",
                agent=show(hosted.id),
                version=seen.version,
            )
    agent_code(hosted.set, name, value)
    version: int = agent_code(hosted.look, name).version
    return version


def arguments(
    call: Call, payload: Any, refs: Any, terms: Terms = OWN
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` of a call; nothing but plain data unless the terms allow more."""
    head, *buffers = payload
    return serialization.decode_call(
        call.codec, head, buffers, refs=refs, data_only=not terms.code, may_import=True
    )


def value_of(
    hosted: Hosted, value: Any, what: str, refs: Any, terms: Terms
) -> tuple[str, list[Any]]:
    """The codec and frames of a value; coroutines are awaited, iterators stay."""
    if coroutines.is_async(value):
        value = agent_code(coroutines.settle, value)
    # Where only plain data is read, none of them would arrive as what it is.
    if isinstance(value, Iterator) and (terms.plain or _stays(value)):
        return _iterator(hosted, value, terms)
    return encode_value(hosted, value, what, refs, terms)


def encode_value(
    hosted: Hosted, value: Any, what: str, refs: Any, terms: Terms = OWN
) -> tuple[str, list[Any]]:
    """The codec and frames of a plain value; raises ``SerializationError`` that says whose."""
    try:
        encoded = serialization.encode(value, refs=refs, root="result", data_only=terms.plain)
    except OSError as missing:  # a file that is returned, and is not there
        raise Raised(from_agent(missing)) from None
    except SerializationError as error:
        raise SerializationError(
            f"{what} of {hosted.cls} cannot travel back: {error.message}", **error.facts
        ) from error
    return payload_of(encoded)


def failure(
    call: Call | Read, error: BaseException, refs: Any, *, data_only: bool
) -> tuple[Error, list[Any]]:
    """The answer to a question whose code raised."""
    facts, encoded = serialization.encode_error(
        error, refs=refs, redaction=redactions or None, data_only=data_only
    )
    codec, frames = payload_of(encoded)
    return Error(call.id, "raised", fit(facts["message"]), fit(facts), codec), frames


def without_secrets(error: AgentdError) -> AgentdError:
    """An error of ours, as it may be told: it may quote what the agent gave."""
    if not redactions:
        return error
    facts = {key: redactions.value(value) for key, value in error.facts.items()}
    return type(error)(redactions.text(error.message), **facts)


class Raised(Exception):
    """Marks an exception as the agent's own."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def agent_code(function: Callable[..., Any], *args: Any) -> Any:
    """Run the agent's code: what it raises is marked as its own."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it is the agent's answer
        raise Raised(from_agent(error)) from None


def from_agent(error: BaseException) -> BaseException:
    """The error, its traceback starting where the agent's own code does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == "agentd.worker":
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)


def payload_of(encoded: Encoded | None) -> tuple[str, list[Any]]:
    """Codec and frames."""
    if encoded is None:
        return "", []
    return encoded.codec, [encoded.head, *encoded.buffers]


def _iterator(hosted: Hosted, iterator: Iterator[Any], terms: Terms) -> tuple[str, list[Any]]:
    return "iter", [msgpack.packb(hosted.iterators.open(iterator, terms.guest))]


def _stays(iterator: Iterator[Any]) -> bool:
    """Generators and the like are read from afar; ``iter([1, 2])`` and so on travel as values."""
    return type(iterator).__reduce__ is object.__reduce__


def _number(name: str) -> int:
    if not name.isdecimal():
        raise ProtocolError("an iterator is named by its number")
    return int(name)
