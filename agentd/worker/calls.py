"""One call in this worker, from its arrival to its answer.

Its life is the first table of ``agentd.worker.phases``. It is answered exactly once: by its value,
its exception, its deadline or its cancellation, whatever comes first. Its turn ends when its code
has ended, which may be later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextvars import Context
from typing import TYPE_CHECKING, Any

from agentd.client.about import COROUTINE, READONLY
from agentd.client.context import CurrentCall, running
from agentd.client.fetching import Found, Outcome
from agentd.errors import AgentdError, CallCancelled, CallTimeout
from agentd.ids import show
from agentd.protocol import error_message
from agentd.protocol.messages import Accepted, Call, Error, Message, Result
from agentd.protocol.sizes import size_of
from agentd.worker import coroutines
from agentd.worker.hosted import Hosted
from agentd.worker.interrupt import Interruptible
from agentd.worker.operations import (
    Raised,
    agent_code,
    arguments,
    encode_value,
    failure,
    from_agent,
    operate,
    without_secrets,
)
from agentd.worker.output import flush
from agentd.worker.phases import ANSWERED, CallEvent, CallState, call_after
from agentd.worker.sent import LARGE_BYTES
from agentd.worker.source import Source
from agentd.worker.state import Watcher

if TYPE_CHECKING:
    from agentd.worker.desk import Desk

__all__ = ["OpenCall", "OpenWatch"]


class OpenCall:
    """An ``Item`` of the agent's turns (see ``agentd.worker.turns``)."""

    __slots__ = (
        "_desk",
        "_lock",
        "_payload",
        "_refs",
        "_source",
        "_state",
        "_task",
        "_timer",
        "_told",
        "_work",
        "call",
        "chain",
        "current",
        "ended",
        "guests",
        "handed_on",
        "hosted",
        "on_loop",
        "readonly",
        "terms",
        "who",
    )

    def __init__(
        self, desk: Desk, hosted: Hosted, source: Source, call: Call, payload: list[Any]
    ) -> None:
        self.call = call
        self.hosted = hosted
        self._desk = desk
        self._source = source
        self._payload = payload
        self.terms = desk.terms(source, call)
        self._refs: Any = desk.references.on_terms(self.terms)
        self._lock = threading.Lock()  # protects the next two, and where the answer goes
        self._state = CallState.WAITING if call.needs else CallState.QUEUED
        self._told = False
        """Whoever made a one-way call has had his answer."""
        self._timer: Any = None
        self._task: Any = None
        self._work = Interruptible()
        self.chain: tuple[tuple[bytes, bytes], ...] = ()
        if call.chain:
            self.chain = tuple((bytes(agent), bytes(key)) for agent, key in call.chain)
        self.who = source.who
        self.guests: Collection[Any] = ()
        flags = hosted.flags(call.name) if call.op in ("method", "stream") else 0
        self.readonly = bool(flags & READONLY)
        self.on_loop = bool(flags & COROUTINE) and call.op == "method"
        self.ended = False
        self.handed_on = False
        """Its value goes to others; its caller fetches it if he asks for it."""
        self.current = CurrentCall(
            hosted.id,
            hosted.epoch,
            call.key,
            call.name,
            None if call.timeout is None else time.monotonic() + call.timeout,
            self.chain,
            call.trace or call.key,
            hosted.proxy,
            # A readonly call has no turn that anybody could wait for.
            _nobody if self.readonly else hosted.waits,
            hosted.code,
        )

    @property
    def quick(self) -> bool:
        """As far as can be known by now: its method may have proven so while it waited."""
        return self.call.op == "method" and self.hosted.pace.is_quick(self.call.name)

    @property
    def answered(self) -> bool:
        """Whether it is over for its caller."""
        return self._state in ANSWERED

    def _moves(self, event: CallEvent) -> bool:
        """A step of its life; whether this is the moment to answer it. Under the lock."""
        before = self._state
        now = self._state = call_after(before, event)
        return now in ANSWERED and before not in ANSWERED

    # -- before ------------------------------------------------------------------------------------
    def enter(self) -> None:
        """It has come. In the loop's thread."""
        call = self.call
        if call.timeout is not None:
            self._timer = self._desk.loop.later(max(0.0, call.timeout), self._expire)
        if call.needs:
            self._desk.fetch_needs(call.needs, self._have_needs)
        else:
            self.hosted.turns.post(self)

    def _have_needs(self, found: Found) -> None:
        failed = CallEvent.NEEDS_FAILED
        if isinstance(found, AgentdError):
            if found.__cause__ is None:
                self._answer(failed, error_message(self.call.id, found), [])
            else:  # it tells why an agent could not be built, which no header has room for
                self._answer(failed, *self._failure(found))
        elif isinstance(found, Outcome):  # a call that this one needs failed: so does this one
            message, payload = self._readable(found)
            self._answer(failed, message.renumbered(self.call.id), list(payload))
        else:
            self._refs = self._desk.references.resolving(found, self.terms)
            with self._lock:
                self._moves(CallEvent.NEEDS_THERE)
                given_up = self._state is not CallState.QUEUED
            if not given_up:
                self.hosted.turns.post(self)

    def accepted(self) -> None:
        """Its turn will come."""
        if self.call.oneway:  # before it begins: its code may keep Python's lock
            self._tell(self._accepted())

    def _accepted(self) -> Accepted:
        return Accepted(self.call.id, self.hosted.id)

    # -- running -----------------------------------------------------------------------------------
    def _begin(self) -> bool:
        with self._lock:
            self._moves(CallEvent.TURN)
            return self._state is CallState.RUNNING

    def run(self) -> None:
        """On an executor's thread."""
        if self._begin():
            # A context of its own: what one call sets, the next one does not see.
            Context().run(self._run)

    def _run(self) -> None:
        running.set(self.current)
        self.current.guard = self._work
        self.current.gives_way = self._desk.gives_way
        slot = self._desk.recorder.enter(self.hosted.id)
        began = time.monotonic()
        message: Message
        try:
            codec, frames = self._run_code()
            message = Result(self.call.id, codec, False)  # noqa: FBT003 - all are told: built faster
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            message, frames = self._failed(error)
        finally:
            if self.call.op == "method":
                self.hosted.pace.note(self.call.name, time.monotonic() - began)
            self._end_turn(slot)
        self._finish(message, frames)

    def _end_turn(self, slot: int) -> None:
        flush()
        if not self.readonly:
            self.hosted.turn_ended()
        self._desk.recorder.leave(slot)
        self.ended = True

    def _finish(self, message: Message, frames: list[Any]) -> None:
        self._answer(CallEvent.FINISHED, message, frames)

    def _run_code(self) -> tuple[str, list[Any]]:
        done: tuple[str, list[Any]] = self._work.run(
            operate, self.hosted, self.call, self._payload, self._refs, self.terms
        )
        return done

    def _stop_code(self) -> None:
        """Have the running code raise ``CallCancelled``."""
        self._work.stop()

    def _failure(self, error: BaseException) -> tuple[Error, list[Any]]:
        return failure(self.call, error, self._refs, data_only=self.terms.plain)

    def _readable(self, outcome: Outcome) -> Outcome:
        """The failure of another call, without what the caller of this one does not read."""
        message = outcome.message
        if self.terms.plain and isinstance(message, Error) and message.codec not in ("", "data"):
            return Outcome(message.changed(codec=""), [])
        return outcome

    def _failed(self, error: BaseException) -> tuple[Message, list[Any]]:
        if isinstance(error, Raised):
            return self._failure(error.error)
        if isinstance(error, AgentdError):
            # What cannot be read, or is not allowed: told as it is.
            return error_message(self.call.id, without_secrets(error)), []
        return self._failure(error)  # a defect of ours, told to the caller

    def begin(self, done: Callable[[], None]) -> None:
        """As a task of the event loop."""
        loop = coroutines.event_loop()

        def start() -> None:
            if not self._begin():
                done()
                return
            self._task = loop.create_task(self._await(), context=Context())
            self._task.add_done_callback(lambda _task: done())
            # Given up just now, by somebody who did not see the task yet?
            if self._state is CallState.LEAVING:
                self._task.cancel()

        loop.call_soon_threadsafe(start)

    async def _await(self) -> None:
        import asyncio

        running.set(self.current)
        slot = self._desk.recorder.enter(self.hosted.id)
        message: Message
        try:
            args, kwargs = arguments(self.call, self._payload, self._refs, self.terms)
            method = self.hosted.method_for(self.terms)
            coroutine = agent_code(method, self.call.name, args, kwargs)
            try:
                value = await coroutine
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - the agent's answer
                raise Raised(from_agent(error)) from None
            what = f"the result of {self.call.name}"
            codec, frames = encode_value(self.hosted, value, what, self._refs, self.terms)
            message = Result(self.call.id, codec, False)  # noqa: FBT003 - all are told: built faster
        except asyncio.CancelledError:
            message, frames = error_message(self.call.id, self._cancelled()), []
        except BaseException as error:  # noqa: BLE001 - as above
            message, frames = self._failed(error)
        finally:
            self._end_turn(slot)
        self._finish(message, frames)

    # -- giving up ---------------------------------------------------------------------------------
    def _expire(self) -> None:
        self._give_up(
            CallEvent.EXPIRED,
            CallTimeout(
                f"{self.hosted.cls}.{self.call.name} was not done within {self.call.timeout:.3g} s",
                agent=show(self.hosted.id),
                method=self.call.name,
                timeout=self.call.timeout,
            ),
        )

    def _cancelled(self, why: str = "was cancelled") -> CallCancelled:
        return CallCancelled(
            f"{self.hosted.cls}.{self.call.name} {why}",
            agent=show(self.hosted.id),
            method=self.call.name,
        )

    def cancel(self) -> None:
        """Its caller gave it up."""
        self._give_up(CallEvent.CANCELLED, self._cancelled())

    def interrupt(self) -> None:
        """Another call takes its place."""
        self._give_up(CallEvent.INTERRUPTED, self._cancelled("was interrupted by a newer call"))

    def give_up(self, error: AgentdError) -> None:
        """Its agent ended and waits for nobody."""
        self._give_up(CallEvent.KILLED, error)

    def _give_up(self, event: CallEvent, error: AgentdError) -> None:
        """Answer at once; what waits never starts, what runs is asked to end."""
        self.hosted.turns.withdraw(self)
        if not self._answer(event, error_message(self.call.id, error), []):
            return
        self.current.cancel()
        if self._state is not CallState.LEAVING:
            return
        if not self.on_loop:
            self._stop_code()
        elif self._task is not None:
            coroutines.event_loop().call_soon_threadsafe(self._task.cancel)

    def redirect(self, source: Source, number: int) -> bool:
        """Answer over another connection, the first one broke; False if it is answered already."""
        with self._lock:
            self._moves(CallEvent.REDIRECTED)
            if self._state in ANSWERED:
                return False
            self._source.leave(self.call.id)
            self._source = source
            self.call = self.call.renumbered(number)
        if self.call.oneway:  # that is what was lost
            self._source.answer(self._accepted())
        return True

    def refuse(self, error: AgentdError) -> None:
        """It will not be run."""
        self._answer(CallEvent.REFUSED, error_message(self.call.id, error), [])

    def _answer(self, event: CallEvent, message: Message, frames: list[Any]) -> bool:
        """Move on, and answer if nobody has; whether this was the answer."""
        with self._lock:
            if not self._moves(event):
                return False
            if self._timer is not None:
                self._timer.cancel()
            if message[0] != self.call.id:  # redirected since it was made
                message = message.renumbered(self.call.id)
            started = event is CallEvent.FINISHED or self._state is CallState.LEAVING
            if self.call.key and not self.call.hold:
                # Before anybody can find the call answered: it is not to be run again.
                again = Outcome(message, frames)
                if self.call.oneway and (started or message.kind == "result"):
                    again = Outcome(self._accepted(), [])  # all that its caller is told
                self._desk.outcomes.remember(self.call.key, again)
        if self.call.hold:
            value, handed_on = isinstance(message, Result), self.handed_on
            if self._desk.outcomes.put(
                self.call.key,
                Outcome(message, frames),
                lazy=value and self.call.lazy,
                handed_on=value and handed_on,
            ):
                message, frames = Result(message[0], held=True), []
        if not self.call.oneway:
            if self._source.answer(message, frames) and not self.call.hold and self._source.own:
                self._sent(frames)
        else:
            self._source.leave(self.call.id)
            if message.kind == "error":
                self._report(message, started=started)
        self._desk.call_ended(self)
        return True

    def _sent(self, frames: list[Any]) -> None:
        if self.call.key and size_of(frames) >= LARGE_BYTES:
            self._desk.sent.note(self._source.who[1], self.call.key)

    def _report(self, message: Message, *, started: bool) -> None:
        """Nobody waits for a one-way call: what went wrong goes to the agent's log."""
        if started:
            facts = getattr(message, "facts", {})
            print(facts.get("traceback") or message, flush=True)  # noqa: T201 - the agent's stdout
        else:
            self._tell(message)

    def _tell(self, message: Message) -> None:
        """The one answer to a one-way call: that it was accepted, or why not."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self._source.answer(message, [])


def _nobody(key: bytes, begins: bool) -> None:  # noqa: FBT001 - as ``Hosted.waits``
    """Nobody has to know what a readonly call waits for."""


class OpenWatch(OpenCall):
    """Somebody watches an attribute: it begins in a turn and lasts until he stops."""

    _watcher: Watcher | None = None

    def _run_code(self) -> tuple[str, list[Any]]:
        self._watcher = Watcher(
            self._source,
            self.call.id,
            self.call.name,
            self.call.credit,
            self._over,
            plain=self.terms.plain,
        )
        agent_code(self.hosted.watchers.add, self._watcher)
        return "", []

    def _finish(self, message: Message, frames: list[Any]) -> None:
        if message.kind != "result":
            super()._finish(message, frames)
            return
        with self._lock:  # the values are the answer
            self._moves(CallEvent.STAYS)
            given_up = self._state is CallState.DONE
        if given_up:
            self._leave()

    def _over(self, message: Message, frames: list[Any]) -> None:
        """There is nothing more to be seen, or nobody who would look."""
        self._answer(CallEvent.FINISHED, message, frames)

    def redirect(self, source: Source, number: int) -> bool:
        """Never: asked for again it begins anew, with the value of then."""
        return False

    def _answer(self, event: CallEvent, message: Message, frames: list[Any]) -> bool:
        answered = super()._answer(event, message, frames)
        if answered:
            self._leave()
        return answered

    def _leave(self) -> None:
        if self._watcher is not None:
            self.hosted.watchers.remove(self._watcher)
