"""The forms of a call: blocking, submitted, one-way, streamed. All begin here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from agentd.client import references
from agentd.client.about import about_class
from agentd.client.context import current
from agentd.client.outgoing import Outgoing, compose
from agentd.client.proxy import RpcObject, complete, ensure_ready, session_of, target
from agentd.errors import AgentdError, CallTimeout, ConfigError, SerializationError

if TYPE_CHECKING:
    from agentd.client.references import Collecting
    from agentd.client.results import AsyncResult
    from agentd.client.retry import Retry
    from agentd.client.sending import Sending
    from agentd.client.streaming import Stream
    from agentd.client.target import Target
    from agentd.serialization import Encoded

__all__ = ["CallOptions", "call", "decode_value", "flags", "oneway", "operate", "stream", "submit"]


class CallOptions(NamedTuple):
    """What ``method.options(...)`` sets; ``None`` takes what the agent's own options say."""

    timeout: float | None = None
    """Seconds for queueing and running together."""
    retry: Retry | None = None
    key: str | None = None
    """A name for this very call: repeated with the same key it is not run again, but answered with
    the outcome of the first time, for as long as the worker keeps that (see ``ResultExpired``)."""
    credit: int = 64
    """For streams: how many items the agent may be ahead of the reader."""


DEFAULT = CallOptions()


_NONE: list[Any] = []


class Packed(NamedTuple):
    """Arguments ready to travel."""

    codec: str
    payload: list[Any]
    needs: list[Any]
    lent: list[Any]
    """Results that the payload refers to; given back when the call is over."""

    def give_back(self) -> None:
        """The call is over."""
        for result in self.lent:
            if hasattr(result, "give_back"):
                result.give_back()


def pack_arguments(proxy: RpcObject, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Packed:
    """Encode; raises ``SerializationError`` that names the argument."""
    serialization = _serialization()
    head = serialization.plain_call(args, kwargs)
    if head is not None:
        return Packed._make(("data", [head], _NONE, _NONE))
    return _packed(*encoded_for(proxy, partial(serialization.encode_call, args, kwargs)))


@functools.cache
def _serialization() -> Any:
    """Imported where it is needed first: an import that finds all there costs as much as a call."""
    from agentd import serialization

    return serialization


@functools.cache
def _results() -> tuple[type[AsyncResult[Any]], type[Sending]]:
    """The same."""
    from agentd.client.results import AsyncResult
    from agentd.client.sending import Sending

    return AsyncResult, Sending


def encoded_for(proxy: RpcObject, encode: Callable[..., Encoded]) -> tuple[Encoded, Collecting]:
    """As the agent's daemon takes it: as plain data, if it takes nothing else from here.

    Raises ``SerializationError`` for what has no form in that.
    """
    session = session_of(target(proxy))
    refs = references.sent(session.daemon)
    encoded = encode(refs=refs)
    if encoded.codec == "data" or session.daemon.takes_code():
        return encoded, refs
    refs = references.sent(session.daemon)
    return as_data(session.endpoint, partial(encode, refs=refs)), refs


def as_data(endpoint: str, encode: Callable[..., Encoded]) -> Encoded:
    """Encode as plain data; the error tells why it has to be that."""
    try:
        return encode(data_only=True)
    except SerializationError as error:
        raise SerializationError(
            f"{error.message} The daemon at {endpoint} takes only plain data from this client: it "
            "runs in safe mode, or the client's role there is not deployer.",
            **error.facts,
        ) from error


def _packed(encoded: Any, refs: references.Collecting) -> Packed:
    lent = list(refs.results.values())
    for result in lent:
        if hasattr(result, "lend"):
            result.lend()
    return Packed(encoded.codec, [encoded.head, *encoded.buffers], refs.needs, lent)


def call(
    proxy: RpcObject,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions = DEFAULT,
) -> Any:
    """Call a method and wait for its value."""
    packed = pack_arguments(proxy, args, kwargs)
    try:
        return _blocking(proxy, "method", name, packed, options)
    finally:
        if packed.lent:
            packed.give_back()


def operate(proxy: RpcObject, op: str, name: str, *value: Any) -> Any:
    """Reach an attribute (``get set del dir``) or an iterator (``next close``)."""
    if not value:
        return _blocking(proxy, op, name, Packed("", [], [], []), DEFAULT)
    from agentd import serialization

    encode = partial(serialization.encode, value[0], root=f"the new {name}")
    packed = _packed(*encoded_for(proxy, encode))
    try:
        return _blocking(proxy, op, name, packed, DEFAULT)
    finally:
        packed.give_back()


def _blocking(
    proxy: RpcObject, op: str, name: str, packed: Packed, options: CallOptions, **more: Any
) -> Any:
    aim = target(proxy)
    retry = options.retry or aim.retry
    attempt = 0
    out = _compose(aim, op, name, packed, options, **more)
    while True:
        try:
            if aim.creation is not None:
                await_ready(proxy, out)
            codec, payload = session_of(aim).call(out)
        except AgentdError as error:
            attempt += 1
            if (
                retry is None
                or attempt > retry.times
                or not retry.applies(error, flags(proxy, name, out.timeout))
            ):
                raise
            delay = retry.delay(attempt)
            if out.deadline is not None and time.monotonic() + delay > out.deadline:
                raise
            time.sleep(delay)
        else:
            return decode_value(proxy, name, codec, payload)


def await_ready(proxy: RpcObject, out: Outgoing) -> None:
    """Wait until the agent is made, as long as the call may take."""
    aim = target(proxy)
    try:
        ensure_ready(aim, out.deadline)
    except CallTimeout:
        raise out.timed_out(aim.cls) from None
    complete(proxy)


def _compose(
    aim: Target, op: str, name: str, packed: Packed, options: CallOptions, **more: Any
) -> Outgoing:
    timeout = options.timeout if options.timeout is not None else aim.timeout
    if timeout is not None and not (type(timeout) in (int, float) and timeout > 0):
        raise ConfigError(f"timeout is a number of seconds above 0, not {timeout!r}")
    out = compose(
        session_of(aim).prefix,
        aim.agent,
        op,
        name,
        packed.codec,
        packed.payload,
        packed.needs,
        timeout=timeout,
        **more,
    )
    if options.key is not None:
        digest = hashlib.blake2b(aim.agent + options.key.encode(), digest_size=24).digest()
        out = out._replace(key=digest, hold=True)
    return out


def submit(
    proxy: RpcObject,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions = DEFAULT,
    *,
    lazy: bool = True,
) -> AsyncResult[Any]:
    """Call a method without waiting. Raises ``SerializationError``; all else is the result's.

    ``lazy``: a big value comes here when somebody asks for it, not before.
    """
    result_type, sending_type = _results()
    packed = pack_arguments(proxy, args, kwargs)
    aim = target(proxy)
    out = _compose(aim, "method", name, packed, options, hold=True, lazy=lazy)
    result = result_type()
    sending = sending_type(proxy, out, packed.give_back if packed.lent else None)
    if options.key is not None:
        sending.keep()
    retry = options.retry or aim.retry
    result.send(sending, retry, flags(proxy, name, out.timeout) if retry is not None else 0)
    return result


def oneway(
    proxy: RpcObject,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions = DEFAULT,
) -> None:
    """Call a method; return when the agent's worker has accepted the call."""
    packed = pack_arguments(proxy, args, kwargs)
    # What is lent stays lent: nobody tells when the call is over.
    _blocking(proxy, "method", name, packed, options, oneway=True)


def stream(
    proxy: RpcObject,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions = DEFAULT,
    *,
    now: bool = True,
) -> Stream:
    """Call a generator method: its items, one by one.

    ``now=False``: nothing is sent before the first item is asked for.
    """
    from agentd.client.streaming import Stream

    packed = pack_arguments(proxy, args, kwargs)
    credit = max(1, options.credit)
    out = _compose(target(proxy), "stream", name, packed, options, credit=credit)
    return Stream(proxy, out, now=now)


def flags(proxy: RpcObject, name: str, timeout: float | None = None) -> int:
    """What kind of method it is (see ``agentd.client.about``); asks if nothing is known yet."""
    methods = _methods(proxy, name, timeout)
    return int(methods[name]) if name in methods else 0


def has_method(proxy: RpcObject, name: str, timeout: float | None = None) -> bool:
    """Whether the agent's class has that method; asks if nothing is known yet."""
    return name in _methods(proxy, name, timeout)


def _methods(proxy: RpcObject, name: str, timeout: float | None) -> Any:
    aim = target(proxy)
    methods = aim.methods
    if methods is None or name not in methods:  # the class may have got another one
        methods = aim.methods = offered(proxy, timeout)
    return methods


def offered(proxy: RpcObject, timeout: float | None = None) -> Any:
    """The methods of the agent's class, with their flags."""
    aim = target(proxy)
    if aim.local is not None:
        return about_class(aim.local)["methods"]
    know(proxy, timeout)
    return (aim.about or {}).get("methods", ())


def know(proxy: RpcObject, timeout: float | None = None) -> None:
    """Wait until it is known what the agent's class offers, as ``until_ready`` does."""
    if target(proxy).about is None:
        until_ready(proxy, timeout)
    complete(proxy)


def until_ready(proxy: RpcObject, timeout: float | None = None) -> None:
    """Wait at most ``timeout`` seconds, or as long as its calls may take; or ``CallTimeout``."""
    aim = target(proxy)
    timeout = aim.timeout if timeout is None else timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    maker = current()
    if maker is not None and maker.deadline is not None:
        deadline = maker.deadline if deadline is None else min(deadline, maker.deadline)
    try:
        ensure_ready(aim, deadline)
    except CallTimeout:
        limit = "its deadline" if timeout is None else f"{timeout:g} s"
        raise CallTimeout(
            f"agent {aim.label} ({aim.cls}) is not ready within {limit}",
            agent=aim.agent.hex(),
            timeout=timeout,
        ) from None
    complete(proxy)


def decode_value(proxy: RpcObject, name: str, codec: str, payload: Any) -> Any:
    """The value in the payload of a result."""
    if codec == "method":
        from agentd.client.method import RemoteMethod

        return RemoteMethod(proxy, name)
    if not codec:
        return None  # a one-way call
    head, *buffers = payload
    if codec == "data":
        try:
            return _serialization().unpack_plain(head)
        except Exception:  # noqa: BLE001, S110 - what it holds, or what is wrong with it, is found below
            pass
    if codec == "iter":
        import msgpack

        return _items(proxy, str(msgpack.unpackb(head)))
    aim = target(proxy)
    session = session_of(aim)
    refs = references.received(direct=aim.direct, daemon=session.daemon)
    return session.daemon.reader.decode(codec, head, buffers, refs)


def _items(proxy: RpcObject, number: str) -> Iterator[Any]:
    """The items of an iterator that stays with the agent; leaving early closes it there."""
    ended = False
    try:
        while not ended:
            items, ended = operate(proxy, "next", number)
            yield from items
    finally:
        if not ended:
            with contextlib.suppress(Exception):  # it ended by itself, or its agent did
                operate(proxy, "close", number)
