"""The agents of this worker, and the messages that reach them.

Frames come in on the loop's thread, work is done on the executor's threads, and each answer is
sent from the thread that has it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from agentd import serialization
from agentd.client.context import CurrentCall, running
from agentd.client.fetching import Outcome, fetch_all
from agentd.client.meta import RpcMeta
from agentd.client.redaction import redactions
from agentd.client.references import References, install
from agentd.errors import (
    AgentdError,
    CallTimeout,
    CodecNotAllowed,
    Draining,
    ProtocolError,
    TooLate,
    VersionMismatch,
)
from agentd.ids import show
from agentd.protocol import (
    PROTOCOL,
    Lateness,
    Versions,
    error_message,
    fit,
    local_versions,
    pack,
    unpack,
)
from agentd.protocol.budgets import Budgets, Room
from agentd.protocol.messages import (
    Attach,
    Call,
    Cancel,
    Credit,
    Detach,
    Drain,
    Drained,
    Drop,
    Dropped,
    Fetch,
    Hello,
    Keep,
    Message,
    Ping,
    Pong,
    Read,
    Release,
    Start,
    Started,
    StartFailed,
    Welcome,
)
from agentd.transport.local import LocalPort, LocalRouter
from agentd.transport.loop import Loop
from agentd.transport.recorder import Recorder
from agentd.transport.unreachable import Unreachable
from agentd.worker import shipped
from agentd.worker.calls import OpenCall, OpenWatch
from agentd.worker.executor import AFew, Executor
from agentd.worker.files import answer as answer_read
from agentd.worker.hosted import Hosted, moved
from agentd.worker.operations import from_agent, payload_of
from agentd.worker.outcomes import Outcomes
from agentd.worker.output import flush
from agentd.worker.references import HostReferences, open_outcome
from agentd.worker.rows import Row
from agentd.worker.settings import Settings
from agentd.worker.source import Source
from agentd.worker.streams import KEEP_S, OpenStream, Streams
from agentd.worker.terms import OWN, Terms
from agentd.worker.turns import TurnOptions

__all__ = ["Host"]

LATE_S = 0.1
"""A call older than that on arrival has its time left corrected: clocks are known that well."""
HOLD_S = 0.02
"""How long such a call waits for what its caller may have sent after it: that it is given up."""
LONG = 64 * 1024
"""Calls from so many bytes on are counted: those of one connection, and of all."""
READERS = 4
"""Files are read by so many threads at most: a disk is not faster for more."""


class Host:
    """All agents of one worker process."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        front: LocalRouter,
        back: LocalPort,
        recorder: Recorder,
        executor: Executor,
        gives_way: Callable[[], None] = lambda: None,
    ) -> None:
        """``gives_way``: called where an agent's code begins to wait for another call."""
        self._settings = settings
        self.loop = loop
        self._front = front
        self._back = back
        self.recorder = recorder
        self._executor = executor
        self.gives_way = gives_way
        self._row = Row(executor, self._later, back.flush)
        self._readers = AFew(self._executor, READERS)
        self.references = HostReferences(settings.daemon)
        install(self.references)
        self.outcomes = Outcomes(self._later)
        self.streams = Streams(self._later)
        self.grace_s = min(settings.grace_s, KEEP_S)
        """For so long a stream keeps its turn though nobody reads it: a reader may come back."""
        self._agents: dict[bytes, Hosted] = {}
        self._lateness = Lateness(settings.heartbeat_s, loop.was_held_up)
        self._draining = False
        self._held: list[OpenCall] = []
        self._lock = threading.Lock()  # protects the three below
        room = Room(settings.client_calls, settings.client_bytes)
        self._budgets = Budgets(
            room, room, Room(settings.daemon_calls, settings.daemon_bytes), loop.clock
        )
        self._open: dict[OpenCall, None] = {}
        self._by_key: dict[bytes, OpenCall] = {}
        loop.serve(front, self._from_client)
        loop.serve(back, self._from_daemon)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """``loop.later``, from any thread."""

        def start() -> None:
            self.loop.later(seconds, action)

        self.loop.call_soon(start)

    # -- frames ------------------------------------------------------------------------------------
    def _from_client(self, frames: list[Any]) -> None:
        self._take(Source(self.loop, self._front, frames[0]), frames[1:])

    def _from_daemon(self, frames: list[Any]) -> None:
        if frames[0]:
            self._take(Source(self.loop, self._back, frames[0]), frames[1:])
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
                self._lateness.is_late(self._back.fd, message.at, self.loop.clock())
                self._tell(Pong(message.id, self.loop.clock()))
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
                case Credit():
                    self._credit(source, message)
                case Fetch():
                    self._fetch(source, message)
                case Read():
                    self._read(source, message)
                case Cancel() | Keep() | Release():
                    self._told(message)
                case Attach():
                    self.streams.attach(source, message)
                case Detach():
                    self._detach(source, message)
                case Ping():
                    self._is_late(source, message.at)
                    self._charge(source, frames)
                    source.answer(Pong(number, self.loop.clock()))
                case Hello():
                    self._hello(source, message)
                case _:
                    raise ProtocolError(f"a client does not say {message.kind!r} to a worker")
        except AgentdError as error:
            source.answer(error_message(number, error))
            self._charge(source, frames)
            if isinstance(error, ProtocolError) and not self._relayed(source):
                self._front.fault(source.who[1])

    def _charge(self, source: Source, frames: list[Any]) -> None:
        """It made work that helps nobody; the daemon sees to those who come by it."""
        if not self._relayed(source):
            self._front.charge(source.who[1], sum(map(len, frames)))

    def _tell(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> None:
        Source(self.loop, self._back, b"").answer(message, payload)

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
                self.loop.clock(),
                takes_code=not self._settings.safe,
            )
        )

    # -- agents ------------------------------------------------------------------------------------
    def _start(self, message: Start, payload: list[Any]) -> None:
        wire = (message.agent, self._settings.daemon, message.cls, message.name, None, None, None)
        hosted = Hosted(
            message.agent,
            message.epoch,
            message.cls,
            self._executor,
            options_of(message.options),
            partial(References.from_wire, self.references, wire),
            message.code,
        )
        self._agents[message.agent] = hosted
        terms = self._start_terms(message)
        if message.needs:
            have = partial(self._start_with, hosted, message, payload, terms)
            self.fetch_needs(message.needs, have)
        else:
            refs = self.references.on_terms(terms)
            hosted.post_in(self._row, partial(self._build, hosted, message, payload, refs))

    def _start_terms(self, message: Start) -> Terms:
        return Terms.of(message.by, plain=message.plain, direct=False, safe=self._settings.safe)

    def _start_with(
        self,
        hosted: Hosted,
        message: Start,
        payload: list[Any],
        terms: Terms,
        found: dict[bytes, Outcome] | AgentdError | Outcome,
    ) -> None:
        """The results among the constructor's arguments are here, or one of them failed."""
        if isinstance(found, dict):
            refs = self.references.resolving(found, terms)
            hosted.post_in(self._row, partial(self._build, hosted, message, payload, refs))
            return

        def fail() -> None:
            try:
                if isinstance(found, Outcome):
                    open_outcome(found, self.references, data_only=not terms.code)
                assert isinstance(found, AgentdError)
                raise found
            except BaseException as error:  # noqa: BLE001 - it is the answer
                self._not_built(hosted, message, error)

        hosted.post(fail)

    def _build(self, hosted: Hosted, message: Start, payload: list[Any], refs: Any) -> None:
        call = CurrentCall(
            hosted.id, hosted.epoch, method="__init__", me=hosted.proxy, code=hosted.code
        )
        Context().run(self._build_in, call, hosted, message, payload, refs)

    def _build_in(
        self, call: CurrentCall, hosted: Hosted, message: Start, payload: list[Any], refs: Any
    ) -> None:
        running.set(call)
        slot = self.recorder.enter(hosted.id)
        try:
            hosted.adopt(self._make(hosted, message, payload, refs))
            started = Started(message.agent, message.epoch, hosted.about)
            with contextlib.suppress(Unreachable):
                self._back.put([b"", *pack(started)])  # it leaves when the row makes a pause
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            self._not_built(hosted, message, error)
        finally:
            flush()
            self.references.being_made.pop(message.agent, None)
            self.recorder.leave(slot)

    def _not_built(self, hosted: Hosted, message: Start, error: BaseException) -> None:
        hosted.object = None
        self.references.forget(hosted)
        self._agents.pop(hosted.id, None)
        plain = self._start_terms(message).plain
        facts, encoded = serialization.encode_error(
            from_agent(error),
            refs=self.references,
            redaction=redactions or None,
            data_only=plain,
        )
        codec, frames = payload_of(encoded)
        text = (
            f"{facts['type_name']}: {facts['message']}" if facts["message"] else facts["type_name"]
        )
        self._tell(StartFailed(message.agent, message.epoch, fit(text), fit(facts), codec), frames)

    def _make(self, hosted: Hosted, message: Start, payload: list[Any], refs: Any) -> Any:
        head, *buffers = payload
        know = self.references.know
        data_only = not self._start_terms(message).code
        if message.mode == "registered":
            cls = serialization.import_class(message.cls)
            self.references.being_made[message.agent] = cls.__module__
            args, kwargs = serialization.decode_call(
                message.codec, head, buffers, refs=refs, data_only=data_only, may_import=True
            )
            return self._construct(hosted, message, cls, args, kwargs)
        if data_only:
            raise CodecNotAllowed(
                f"{message.cls} was to be made from {message.mode!r}, which is to run code; here "
                "only registered agents are made",
                codec=message.codec,
            )
        if message.code:
            shipped.use(os.path.join(self._settings.code_folder, message.code.hex()))
        if message.mode == "live":
            obj = serialization.decode(message.codec, head, buffers, refs=refs, may_import=True)
            know(obj, hosted, message.name)
            return obj
        cls, args, kwargs = serialization.decode_spec(
            message.codec, head, buffers, refs=refs, may_import=True
        )
        return self._construct(hosted, message, cls, args, kwargs)

    def _construct(
        self,
        hosted: Hosted,
        message: Start,
        cls: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        know = self.references.know
        if type(cls).__call__ not in (RpcMeta.__call__, type.__call__):
            obj = cls(*args, **kwargs)
            know(obj, hosted, message.name)
            return obj
        # As ``type.__call__`` does it, but known as an agent before ``__init__`` runs, so that
        # ``self`` can be handed to other agents from there.
        obj = cls.__new__(cls, *args, **kwargs)
        if isinstance(obj, cls):
            know(obj, hosted, message.name)
            type(obj).__init__(obj, *args, **kwargs)
        return obj

    def _drop(self, message: Drop) -> None:
        hosted = self._agents.pop(message.agent, None)
        if hosted is not None:
            still = hosted.end(message.reason)
            if message.kill:
                for item in still:
                    item.give_up(hosted.ended_error())
            hosted.post(partial(self.references.forget, hosted))
        self._tell(Dropped(message.agent, message.epoch))

    # -- calls -------------------------------------------------------------------------------------
    def _accept(self, source: Source, call: Call, payload: list[Any]) -> None:
        hosted = self._agents.get(call.agent)
        if hosted is None:
            raise moved(call.agent)
        hosted.check_takes_calls(call.epoch)
        if self._draining and not call.chain:
            # A call on behalf of one that is still open is part of finishing that one.
            raise Draining("the daemon is stopping and takes no new calls", agent=show(call.agent))
        if call.again and self._known_already(source, call):
            return
        call = self._in_time(source, call)
        ticket = self._take_room(source, payload)
        if call.hold and not self.outcomes.expect(call.key):
            # The same call once more (``options(key=)``): it is not run again.
            self._give_room(ticket)
            self.outcomes.fetch(call.key, partial(_pass_on, source, call.id))
            return
        opened: OpenCall
        if call.op == "watch":
            opened = OpenWatch(self, hosted, source, call, payload)
        elif call.op == "stream":
            stream = OpenStream(self, hosted, source, call, payload)
            self.streams.add(stream)
            opened = stream
        else:
            opened = OpenCall(self, hosted, source, call, payload)
        opened.ticket = ticket
        with self._lock:
            if call.op != "watch":  # it has no end that could be waited for
                self._open[opened] = None
            if call.key:
                self._by_key[call.key] = opened
        if not self._held and not (call.at and self.loop.clock() - call.at > LATE_S):
            opened.enter()
            return
        # It was under way for so long that its cancellation may have come with it. What comes
        # meanwhile stays behind it.
        if not self._held:
            self.loop.later(HOLD_S, self._enter_held)
        self._held.append(opened)

    def _take_room(self, source: Source, payload: list[Any]) -> object | None:
        """Count the bytes of a long call until it has ended; raises ``Overloaded``.

        The short ones are as many as the agents' mailboxes take, and are not slowed down.
        """
        size = sum(map(len, payload))
        if size < LONG:
            return None
        ticket = object()
        with self._lock:
            self._budgets.take(ticket, source.who, None, size)
        return ticket

    def _give_room(self, ticket: object | None) -> None:
        if ticket is not None:
            with self._lock:
                self._budgets.give(ticket)

    def _enter_held(self) -> None:
        held, self._held = self._held, []
        for opened in held:
            if not opened.answered:
                opened.enter()

    def _relayed(self, source: Source) -> bool:
        """Whether it came by way of the daemon."""
        return source.port is self._back

    def terms(self, source: Source, call: Call) -> Terms:
        """On what terms the call is read and answered."""
        if source.port is self._front and not call.plain and not self._settings.safe:
            return OWN
        return Terms.of(
            call.by,
            plain=call.plain,
            direct=not self._relayed(source),
            safe=self._settings.safe,
        )

    def _is_late(self, source: Source, at: float) -> bool:
        # What the daemon relays it has found in time; then it may be late as a whole.
        who = self._back.fd if self._relayed(source) else source.who
        return self._lateness.is_late(who, at, self.loop.clock())

    def _in_time(self, source: Source, call: Call) -> Call:
        """The call, with what is left of its time; raises if it comes too late."""
        if self._is_late(source, call.at):
            raise TooLate(
                f"the call of {call.name!r} came so late that its caller may have given it up; "
                "it was not started"
            )
        if call.timeout is None or not call.at:
            return call
        age = self.loop.clock() - call.at
        if age < min(LATE_S, call.timeout):
            return call
        if age >= call.timeout:
            raise CallTimeout(
                f"{call.name} was not started: it came {age - call.timeout:.3g} s after its "
                "deadline",
                agent=show(call.agent),
                method=call.name,
                timeout=call.timeout,
            )
        return call.changed(timeout=call.timeout - age)

    def _known_already(self, source: Source, call: Call) -> bool:
        """The call was sent before, over a connection that broke: has it come? Then answer."""
        if call.op == "stream" and self.streams.again(source, call):
            return True
        opened = self._call(call.key)
        if opened is not None and opened.redirect(source, call.id):
            return True
        outcome = self.outcomes.recall(call.key)
        if outcome is None:
            return False
        _pass_on(source, call.id, outcome)
        return True

    def call_ended(self, call: OpenCall) -> None:
        """It has been answered. From any thread."""
        self._give_room(call.ticket)
        with self._lock:
            self._open.pop(call, None)
            if self._by_key.get(call.call.key) is call:  # not a later one with its key
                del self._by_key[call.call.key]
            drained = self._draining and not self._open
        if drained:
            self._tell(Drained())

    def _credit(self, source: Source, message: Credit) -> None:
        hosted = self._agents.get(message.agent)
        if hosted is not None and hosted.watchers.grant(source.who, message.id, message.more):
            # A look in its turn: there may be a newer value than the last one sent.
            hosted.post(hosted.watchers.turn_ended)
        else:
            self.streams.grant(source, message.id, message.more)

    def _detach(self, source: Source, message: Detach) -> None:
        hosted = self._agents.get(message.agent)
        if hosted is None or not hosted.watchers.detach(source.who, message.id):
            self.streams.detach(source, message)

    def _told(self, message: Cancel | Keep | Release) -> None:
        """What the maker of a call does not want (any more)."""
        match message:
            case Cancel():
                call = self._call(message.key)
                if call is not None:
                    call.cancel()
            case Keep():
                for key in message.keys:
                    call = self._call(key)
                    if call is not None:
                        call.handed_on = True
            case Release():
                for key in message.keys:
                    self.outcomes.release(key)

    def _call(self, key: bytes) -> OpenCall | None:
        with self._lock:
            return self._by_key.get(key)

    def _drain(self) -> None:
        self._draining = True
        with self._lock:
            drained = not self._open
        if drained:
            self._tell(Drained())

    def _read(self, source: Source, message: Read) -> None:
        """Bytes of a file: not in the agent's turn, and not in the loop's thread."""
        hosted = self._agents.get(message.agent)
        if hosted is None:
            raise moved(message.agent)
        hosted.check_takes_calls(message.epoch)
        self._readers.submit(partial(answer_read, self.references.files, source, message))

    # -- outcomes of other calls -------------------------------------------------------------------
    def _fetch(self, source: Source, message: Fetch) -> None:
        self.outcomes.fetch(message.key, partial(_pass_on, source, message.id))

    def fetch_needs(
        self, needs: list[Any], have: Callable[[dict[bytes, Outcome] | AgentdError | Outcome], None]
    ) -> None:
        """Get the outcomes that a payload refers to, wherever they are; ``have`` is called once.

        With all of them by key; or, at the first that failed, with that failure.
        """
        # Not in the loop's thread: finding an agent and meeting its worker take answers, from a
        # worker whose own loop might do just the same.
        self._executor.submit(partial(fetch_all, needs, have))


def _pass_on(source: Source, number: int, outcome: Outcome | AgentdError) -> None:
    """Answer a question with an outcome."""
    if isinstance(outcome, AgentdError):
        source.answer(error_message(number, outcome))
    else:
        answer, payload = outcome
        source.answer(answer.renumbered(number), list(payload))


_USUAL = TurnOptions()


def options_of(told: dict[str, Any]) -> TurnOptions:
    """The turn options in a ``start``; the daemon has checked them."""
    if not told:
        return _USUAL
    known = {k: v for k, v in told.items() if k in TurnOptions.__slots__}
    return TurnOptions(**known)
