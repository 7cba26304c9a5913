"""The agents of this worker, and the messages that reach them.

Frames come in on the loop's thread, work is done on the executor's threads, and each answer is
sent from the thread that has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgpack

from agentd import serialization
from agentd.client.context import current
from agentd.client.meta import RpcMeta
from agentd.client.references import References, install
from agentd.errors import AgentdError, Draining, ProtocolError, SerializationError, VersionMismatch
from agentd.ids import show
from agentd.protocol import PROTOCOL, Versions, error_message, fit, local_versions, pack, unpack
from agentd.protocol.messages import (
    Call,
    Drain,
    Drained,
    Drop,
    Dropped,
    Error,
    Hello,
    Message,
    Ping,
    Pong,
    Result,
    Start,
    Started,
    StartFailed,
    Welcome,
)
from agentd.serialization import Encoded
from agentd.transport.loop import Loop
from agentd.transport.recorder import Recorder
from agentd.transport.sockets import Port, Unreachable
from agentd.worker import coroutines
from agentd.worker.executor import Executor
from agentd.worker.hosted import Hosted, moved
from agentd.worker.output import flush
from agentd.worker.settings import Settings

__all__ = ["Host"]


class HostReferences(References):
    """As in a client; and a hosted agent that passes itself passes a reference, too."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._hosted: dict[int, tuple[Hosted, Any]] = {}

    def know(self, obj: object, hosted: Hosted, name: str | None) -> None:
        """``obj`` is that agent (from before its ``__init__`` runs)."""
        self._hosted[id(obj)] = (hosted, (obj, name))

    def forget(self, hosted: Hosted) -> None:
        """The agent is gone."""
        for key in [k for k, (h, _) in self._hosted.items() if h is hosted]:
            del self._hosted[key]

    def to_wire(self, obj: object) -> tuple[Any, ...] | None:
        """The reference, if the object is a proxy or hosted here."""
        found = self._hosted.get(id(obj))
        if found is not None and found[1][0] is obj:
            hosted, (_, name) = found
            return (hosted.id, self._endpoint, hosted.cls, name, hosted.describe(obj))
        return super().to_wire(obj)

    def from_wire(self, wire: tuple[Any, ...]) -> object:
        """The proxy; or the object itself, for the agent whose code is running.

        So ``agent + agent`` works as on any object: by a proxy the agent would wait for itself.
        """
        running = current()
        if running is not None and wire and wire[0] == running.agent:
            for hosted, (obj, _name) in list(self._hosted.values()):
                if hosted.id == running.agent:
                    return obj
        return super().from_wire(wire)


class Source:
    """Where a call came from, and so where its answer goes."""

    __slots__ = ("_loop", "_port", "_prefix")

    def __init__(self, loop: Loop, port: Port, prefix: Any) -> None:
        self._loop = loop
        self._port = port
        self._prefix = prefix

    def answer(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> None:
        """Send it; a caller that has gone away gets nothing."""
        try:
            self._loop.send(self._port, [self._prefix, *pack(message, payload)])
        except Unreachable:
            pass  # it is gone, and with it whoever could be told


class Host:
    """All agents of one worker process."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        front: Port,
        back: Port,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._front = front
        self._back = back
        self._recorder = recorder
        self._executor = Executor()
        self._references = HostReferences(settings.daemon)
        install(self._references)
        self._agents: dict[bytes, Hosted] = {}
        self._draining = False
        self._lock = threading.Lock()  # protects the count below
        self._open = 0
        loop.serve(front, self._from_client)
        loop.serve(back, self._from_daemon)

    # -- frames ------------------------------------------------------------------------------------
    def _from_client(self, frames: list[Any]) -> None:
        self._take(Source(self._loop, self._front, frames[0]), frames[1:])

    def _from_daemon(self, frames: list[Any]) -> None:
        if frames[0]:
            self._take(Source(self._loop, self._back, frames[0]), frames[1:])
            return
        message, payload = unpack(frames[1:]), frames[2:]
        match message:
            case Start():
                self._start(message, payload)
            case Drop():
                self._drop(message)
            case Drain():
                self._drain()
            case Ping():
                self._tell(Pong(message.id))
            case Pong():
                pass
            case _:
                raise ProtocolError(f"a daemon does not say {message.kind!r} to a worker")

    def _take(self, source: Source, frames: list[Any]) -> None:
        number = 0
        try:
            message = unpack(frames)
            number = getattr(message, "id", 0)
            match message:
                case Call():
                    self._accept(source, message, frames[1:])
                case Ping():
                    source.answer(Pong(number))
                case Hello():
                    self._hello(source, message)
                case _:
                    raise ProtocolError(f"a client does not say {message.kind!r} to a worker")
        except AgentdError as error:
            source.answer(error_message(number, error))

    def _tell(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> None:
        Source(self._loop, self._back, b"").answer(message, payload)

    def _hello(self, source: Source, hello: Hello) -> None:
        mine = local_versions()
        if hello.protocol != PROTOCOL:
            theirs = Versions(hello.protocol, hello.agentd, hello.python, hello.dill)
            raise VersionMismatch(
                f"the client runs {theirs}, the worker {mine}; they cannot talk",
                local=str(theirs),
                remote=str(mine),
            )
        source.answer(
            Welcome(
                hello.id,
                mine.protocol,
                mine.agentd,
                mine.python,
                "worker",
                self._settings.worker,
                self._settings.heartbeat_s,
                self._settings.grace_s,
                mine.dill,
            )
        )

    # -- agents ------------------------------------------------------------------------------------
    def _start(self, message: Start, payload: list[Any]) -> None:
        hosted = Hosted(message.agent, message.epoch, message.cls, self._executor)
        self._agents[message.agent] = hosted
        hosted.post(partial(self._build, hosted, message, payload))

    def _build(self, hosted: Hosted, message: Start, payload: list[Any]) -> None:
        slot = self._recorder.enter(hosted.id)
        try:
            hosted.adopt(self._make(hosted, message, payload))
            self._tell(Started(message.agent, message.epoch, hosted.about))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            hosted.object = None
            self._references.forget(hosted)
            self._agents.pop(hosted.id, None)
            facts, encoded = serialization.encode_error(_from_agent(error), refs=self._references)
            codec, frames = _payload(encoded)
            text = (
                f"{facts['type_name']}: {facts['message']}"
                if facts["message"]
                else facts["type_name"]
            )
            failed = StartFailed(message.agent, message.epoch, fit(text), fit(facts), codec)
            self._tell(failed, frames)
        finally:
            flush()
            self._recorder.leave(slot)

    def _make(self, hosted: Hosted, message: Start, payload: list[Any]) -> Any:
        head, *buffers = payload
        refs = self._references
        if message.mode == "live":
            obj = serialization.decode(message.codec, head, buffers, refs=refs, may_import=True)
            refs.know(obj, hosted, message.name)
            return obj
        cls, args, kwargs = serialization.decode_spec(
            message.codec, head, buffers, refs=refs, may_import=True
        )
        if type(cls).__call__ not in (RpcMeta.__call__, type.__call__):
            obj = cls(*args, **kwargs)
            refs.know(obj, hosted, message.name)
            return obj
        # As ``type.__call__`` does it, but known as an agent before ``__init__`` runs, so that
        # ``self`` can be handed to other agents from there.
        obj = cls.__new__(cls, *args, **kwargs)
        if isinstance(obj, cls):
            refs.know(obj, hosted, message.name)
            type(obj).__init__(obj, *args, **kwargs)
        return obj

    def _drop(self, message: Drop) -> None:
        hosted = self._agents.pop(message.agent, None)
        if hosted is not None:
            hosted.end(message.reason)
            hosted.post(partial(self._references.forget, hosted))
        self._tell(Dropped(message.agent, message.epoch))

    # -- calls -------------------------------------------------------------------------------------
    def _accept(self, source: Source, call: Call, payload: list[Any]) -> None:
        hosted = self._agents.get(call.agent)
        if hosted is None:
            raise moved(call.agent)
        hosted.check_takes_calls(call.epoch)
        if self._draining:
            raise Draining("the daemon is stopping and takes no new calls", agent=show(call.agent))
        with self._lock:
            self._open += 1
        hosted.post(
            partial(self._perform, hosted, source, call, payload),
            partial(self._refuse, hosted, source, call),
        )

    def _perform(self, hosted: Hosted, source: Source, call: Call, payload: list[Any]) -> None:
        slot = self._recorder.enter(hosted.id)
        try:
            try:
                # What cannot be read, or is not allowed, is told as it is; what the agent's own
                # code raises is its answer, whatever type it has.
                codec, frames = self._operate(hosted, call, payload)
                answer: Message = Result(call.id, codec)
            finally:
                flush()
                self._recorder.leave(slot)
        except _Raised as raised:
            answer, frames = self._failure(call, raised.error)
        except AgentdError as error:
            answer, frames = error_message(call.id, error), []
        except BaseException as error:  # noqa: BLE001 - a defect of ours, told to the caller
            answer, frames = self._failure(call, error)
        source.answer(answer, frames)
        self._finished()

    def _refuse(self, hosted: Hosted, source: Source, call: Call) -> None:
        try:
            hosted.check_takes_calls(call.epoch)
        except AgentdError as error:
            source.answer(error_message(call.id, error))
        self._finished()

    def _finished(self) -> None:
        with self._lock:
            self._open -= 1
            drained = self._draining and self._open == 0
        if drained:
            self._tell(Drained())

    def _drain(self) -> None:
        self._draining = True
        with self._lock:
            drained = self._open == 0
        if drained:
            self._tell(Drained())

    def _operate(self, hosted: Hosted, call: Call, payload: list[Any]) -> tuple[str, list[Any]]:
        """Do it; the codec and frames of the result."""
        name = call.name
        match call.op:
            case "method":
                head, *buffers = payload
                args, kwargs = serialization.decode_call(
                    call.codec, head, buffers, refs=self._references, may_import=True
                )
                value = _run(hosted.call, name, args, kwargs)
                if name in ("__iter__", "__reversed__"):
                    return self._iterator(hosted, _run(iter, value))
                return self._value(hosted, value, f"the result of {name}")
            case "get":
                value = _run(hosted.get, name)
                if hosted.is_own_method(value):
                    return "method", []
                return self._value(hosted, value, f"the attribute {name}")
            case "set":
                head, *buffers = payload
                new = serialization.decode(
                    call.codec, head, buffers, refs=self._references, may_import=True
                )
                _run(hosted.set, name, new)
                return self._value(hosted, None, "")
            case "del":
                _run(hosted.delete, name)
                return self._value(hosted, None, "")
            case "dir":
                return self._value(hosted, _run(hosted.names), "its names")
            case "next":
                items = _run(hosted.iterators.take, _number(name))
                # A list: plain items stay plain, for clients in other languages.
                return self._value(hosted, list(items), "an item of the iterator")
            case "close":
                _run(hosted.iterators.close, _number(name))
                return self._value(hosted, None, "")
        raise ProtocolError(f"a call cannot be of the kind {call.op!r}")

    def _value(self, hosted: Hosted, value: Any, what: str) -> tuple[str, list[Any]]:
        if coroutines.is_async(value):
            value = _run(coroutines.settle, value)
        if isinstance(value, Iterator) and _stays(value):
            return self._iterator(hosted, value)
        try:
            encoded = serialization.encode(value, refs=self._references, root="result")
        except SerializationError as error:
            raise SerializationError(
                f"{what} of {hosted.cls} cannot travel back: {error.message}", **error.facts
            ) from error
        return _payload(encoded)

    def _iterator(self, hosted: Hosted, iterator: Iterator[Any]) -> tuple[str, list[Any]]:
        return "iter", [msgpack.packb(hosted.iterators.open(iterator))]

    def _failure(self, call: Call, error: BaseException) -> tuple[Message, list[Any]]:
        facts, encoded = serialization.encode_error(error, refs=self._references)
        codec, frames = _payload(encoded)
        return Error(call.id, "raised", fit(facts["message"]), fit(facts), codec), frames


class _Raised(Exception):
    """Marks an exception as the agent's own."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _run(function: Callable[..., Any], *args: Any) -> Any:
    """Run the agent's code: what it raises is marked as its own."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it is the agent's answer
        raise _Raised(_from_agent(error)) from None


def _from_agent(error: BaseException) -> BaseException:
    """The error, its traceback starting where the agent's own code does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == "agentd.worker":
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)


def _stays(iterator: Iterator[Any]) -> bool:
    """Generators and the like are read from afar; ``iter([1, 2])`` and so on travel as values."""
    return type(iterator).__reduce__ is object.__reduce__


def _payload(encoded: Encoded | None) -> tuple[str, list[Any]]:
    if encoded is None:
        return "", []
    return encoded.codec, [encoded.head, *encoded.buffers]


def _number(name: str) -> int:
    if not name.isdecimal():
        raise ProtocolError("an iterator is named by its number")
    return int(name)
