"""``AsyncResult``: the value of a call that has not come yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

from agentd.client import references
from agentd.client.breaks import Breaks
from agentd.client.calling import decode_value
from agentd.client.context import current, undisturbed
from agentd.client.farewell import leave
from agentd.client.fetching import Outcome, fetch
from agentd.client.held import Held
from agentd.client.link import Link, LinkDown, Pending
from agentd.client.outgoing import Outgoing
from agentd.client.proxy import RpcObject, announce, session_of, target
from agentd.client.retry import Retry
from agentd.client.session import LATE_S, Session, is_elsewhere
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    CallTimeout,
    ConnectionLost,
    DaemonNotFound,
    ProtocolError,
    TooLate,
    from_wire,
)
from agentd.protocol.messages import Error, Ready, Result

__all__ = ["AsyncResult", "Sending"]

T = TypeVar("T")

_PENDING, _FINISHED, _CANCELLED, _NOTIFIED = (
    "PENDING",
    "FINISHED",
    "CANCELLED",
    "CANCELLED_AND_NOTIFIED",
)
_OVER = frozenset({_FINISHED, _CANCELLED, _NOTIFIED})
"""The states of a future, as ``concurrent.futures`` calls them."""
_making = threading.Lock()
"""Protects the making of conditions, and the end of results that have none."""


class AsyncResult(Future[T], Generic[T]):
    """A future: the whole interface of ``concurrent.futures.Future``, and awaitable.

    Attribute and item access wait for the value and reach into it. Un-fetched (before anybody asked
    for the value), it pickles to a reference: handed to a call of a hosted agent, it is resolved
    there, and the value does not pass through this process. One that is handed on before it is
    there, or has more than 64 KiB, comes here only when somebody asks for it. ``cancel`` stops the
    call itself.
    """

    def __init__(self) -> None:
        # Not by ``Future.__init__``: its condition is most of what a result costs, see ``Lazily``.
        self._state = _PENDING
        self._result: Any = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Future[T]], Any]] = []
        self._agentd_lock = threading.Lock()  # protects the rest
        self._agentd_notified = False
        self._agentd_value: Any = None
        self._agentd_error: BaseException | None = None
        self._agentd_opened = False
        self._agentd_asked = False
        """Somebody here waits for the value, or did."""
        self._agentd_lent = 0
        self._agentd_sending: Sending | None = None
        self._agentd_wire: tuple[Any, ...] | None = None

    # -- as a future -------------------------------------------------------------------------------
    def done(self) -> bool:
        """Whether it has its outcome, or was cancelled."""
        if self._state not in _OVER and self._agentd_sending is not None:
            self._agentd_sending.look()
        return self._state in _OVER

    @property
    def settled(self) -> bool:
        """As ``done``, by what this process knows already."""
        return self._state in _OVER

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state in (_CANCELLED, _NOTIFIED)

    def running(self) -> bool:
        """Never: it waits for others who run."""
        return False

    # -- the value ---------------------------------------------------------------------------------
    def result(self, timeout: float | None = None) -> T:
        """The value; raises what the call raised, ``TimeoutError`` after ``timeout`` seconds."""
        self._open(timeout)
        if self._agentd_error is not None:
            raise self._agentd_error
        return cast(T, self._agentd_value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or ``None``; waits like ``result``."""
        self._open(timeout)
        return self._agentd_error

    def update_value(self) -> T:
        """``result``, by its name in AgentScope."""
        return self.result()

    def _open(self, timeout: float | None) -> None:
        if self._agentd_opened:
            return
        if self._state == _FINISHED and type(self._result) is not Held:
            self._agentd_asked = True
            sealed = self._result
        else:
            with self.awaited():
                sealed = self._wait(timeout)
                if type(sealed) is Held:
                    sealed.wait()  # the call is done: no part of ``timeout``
        with self._agentd_lock:
            if not self._agentd_opened:
                try:
                    self._agentd_value = sealed()
                except BaseException as error:  # noqa: BLE001 - it is the outcome
                    self._agentd_error = error
                self._agentd_opened = True
        self._release_if_done()

    def _wait(self, timeout: float | None) -> Any:
        sending = self._agentd_sending
        if self._state not in _OVER and sending is not None:
            began = time.monotonic()
            sending.lead(timeout)
            if timeout is not None:
                timeout = max(0.0, timeout - (time.monotonic() - began))
        if self._state == _FINISHED:
            return self._result
        return super().result(timeout)

    def tell(self, told: Callable[[Any], None], attend: Callable[[Link], bool]) -> None:
        """``add_done_callback``, for an event loop that reads the connection itself, if it can."""
        sending = self._agentd_sending
        if sending is not None and sending.read_by(attend):
            with _making:
                if self._state not in _OVER and "_condition" not in self.__dict__:
                    self._done_callbacks.append(told)
                    return
        self.add_done_callback(told)

    def held(self) -> Held | None:
        """The value that is still where it was made, if it is; once the call is done."""
        if self._agentd_opened or self.cancelled():
            return None
        sealed: Any = self._result
        return sealed if isinstance(sealed, Held) else None

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """While an agent's code waits for it: a call that comes back is told, see ``Turns``."""
        self._agentd_asked = True
        sending = self._agentd_sending
        maker = current()
        if maker is None or sending is None or self.done():
            yield
            return
        with maker.waits(sending.key, sending.needs):
            yield

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.result(), name)

    def __getitem__(self, key: Any) -> Any:
        value: Any = self.result()
        return value[key]

    def __await__(self) -> Generator[Any, None, T]:
        from agentd.client.aio import wait_in_loop

        return wait_in_loop(self)

    # -- giving up ---------------------------------------------------------------------------------
    def cancel(self) -> bool:
        """Give the call up: ``result`` raises ``CancelledError`` at once, and the call ends.

        False if it is done already.
        """
        if not super().cancel():
            return False
        with self._agentd_lock:
            first, self._agentd_notified = not self._agentd_notified, True
        if not first:
            return True
        self.set_running_or_notify_cancel()
        if self._agentd_sending is not None:
            self._agentd_sending.cancel()
        return True

    # -- travelling --------------------------------------------------------------------------------
    def agentd_reference(self) -> tuple[Any, ...] | None:
        """The reference as which it travels; ``None`` once the value was asked for."""
        if self._agentd_opened or self.cancelled():
            return None
        if self._agentd_sending is not None:
            return self._agentd_sending.wire()
        return self._agentd_wire

    def lend(self) -> None:
        """A reference to it is on its way to somebody."""
        with self._agentd_lock:
            self._agentd_lent += 1
        sending = self._agentd_sending
        if sending is not None and not self._agentd_asked and not self.done():
            sending.hand_on()

    def give_back(self) -> None:
        """That one has fetched it, or never will."""
        with self._agentd_lock:
            self._agentd_lent -= 1
        self._release_if_done()

    def __reduce_ex__(self, protocol: Any) -> Any:
        wire = self.agentd_reference()
        if wire is None:
            return _value, (self.result(),)
        self.lend()  # for good: nobody tells when a pickle is read
        return _restore, (wire,)

    @undisturbed
    def _release_if_done(self) -> None:
        if self._agentd_opened and self._agentd_lent == 0 and self._agentd_sending is not None:
            self._agentd_sending.release()

    def __del__(self) -> None:
        sending = self.__dict__.get("_agentd_sending")
        if sending is not None and not sending.released and self._agentd_lent == 0:
            leave(sending.release)

    # -- for those who settle it -------------------------------------------------------------------
    def send(self, sending: Sending, retry: Retry | None, flags: int) -> None:
        """Send the call whose outcome this is; again, as ``retry`` allows."""
        self._agentd_sending = sending
        if retry is None:
            sending.begin(self.settle)
        else:
            self._attempt(sending, retry, flags, 1)

    def _attempt(self, sending: Sending, retry: Retry, flags: int, number: int) -> None:
        sending.begin(partial(self._attempted, sending, retry, flags, number))

    def _attempted(
        self,
        sending: Sending,
        retry: Retry,
        flags: int,
        number: int,
        sealed: Callable[[], Any],
    ) -> None:
        error = sending.error
        if error is None or number > retry.times or not retry.applies(error, flags):
            self.settle(sealed)
            return
        again = (sending, retry, flags, number + 1)
        timer = threading.Timer(retry.delay(number), self._attempt, again)
        timer.daemon = True
        timer.start()

    def settle(self, sealed: Callable[[], Any]) -> None:
        """``sealed()`` gives the value or raises; it is called by whoever asks first."""
        with _making:
            alone = "_condition" not in self.__dict__  # nobody can wait for it in a thread
            first = alone and self._state not in _OVER
            if first:
                self._result, self._state = sealed, _FINISHED
        if first and self._done_callbacks:
            self._invoke_callbacks()
        if not alone:
            with suppress(InvalidStateError):  # it was cancelled in the meantime
                self.set_result(cast(T, sealed))
        if self._agentd_sending is not None:
            self._agentd_sending.leave()

    def fail(self, error: BaseException) -> None:
        """It has no value, but this error."""
        self.settle(partial(_raise, error))

    @classmethod
    def fetched(cls, wire: tuple[Any, ...]) -> AsyncResult[Any]:
        """The result behind a reference; it is fetched from where it waits."""
        from agentd.client.runtime import runtime

        result: AsyncResult[Any] = AsyncResult()
        result._agentd_wire = wire
        session = runtime().session_at(wire[3])

        def take(outcome: Outcome | AgentdError) -> None:
            if isinstance(outcome, AgentdError):
                result.fail(outcome)
            else:
                result.settle(partial(open_outcome, session, outcome))

        fetch(wire, take)
        return result


class _Lazily:
    """The condition of a future, made when somebody needs one: most are never waited for so.

    Whoever takes it wants to be told when the result is there.
    """

    def __get__(self, result: Any, cls: type) -> Any:
        if result is None:
            return self
        with _making:
            condition = result.__dict__.get("_condition")
            if condition is None:
                condition = result.__dict__["_condition"] = threading.Condition()
        sending = result._agentd_sending
        if sending is not None:
            sending.hurry()
        return condition


AsyncResult._condition = _Lazily()  # type: ignore[assignment]


def open_outcome(session: Session, outcome: Outcome, *, direct: bool = True) -> Any:
    """The value of an outcome; raises its error."""
    message, payload = outcome
    refs = references.received(direct=direct, daemon=session.daemon)
    if isinstance(message, Result):
        head, *buffers = payload or (b"",)
        return session.daemon.reader.decode(message.codec, head, buffers, refs)
    if not isinstance(message, Error):
        raise ProtocolError(f"a call was answered with {message.kind!r}")
    if message.code == "raised":
        raise session.daemon.reader.decode_error(message.facts, message.codec, payload, refs)
    raise from_wire(message.code, message.message, message.facts)


def _raise(error: BaseException) -> Any:
    raise error


def _value(value: Any) -> Any:
    return value


def _restore(wire: tuple[Any, ...]) -> Any:
    return references.active().from_wire(tuple(wire))


class Sending:
    """One call on its way, moved along by the answers that come; it never waits for the agent."""

    _again = False
    """It was sent, and the connection broke."""
    _place: Ready | None = None
    _link: Link | None = None
    _pending: Pending | None = None
    _breaks: Breaks | None = None
    _hurried = False
    """Somebody is to be told as soon as it is done."""
    _came = 0.0
    """Since when it waits to be sent, this time."""
    _given_up = False
    _over = False
    _handed_on = False
    released = False
    """Nobody here will ask for the outcome again."""
    _sent = False
    error: AgentdError | None = None
    """What ended the last attempt, if it was not the agent's own code."""

    def __init__(
        self, proxy: RpcObject, out: Outgoing, done: Callable[[], None] | None = None
    ) -> None:
        """``done`` is called when the call is over, whatever came of it: after its last attempt."""
        self._proxy = proxy
        self._aim = target(proxy)
        self._session = session_of(self._aim)
        self._out = out
        self._done = done
        self._kept = not out.hold
        """There is nothing to release."""
        self._lock = threading.Lock()  # protects what was told, and whether it is over
        self._finish: Callable[[Callable[[], Any]], None] = _nothing
        self.key = out.key
        self.needs = out.needs

    def begin(self, finish: Callable[[Callable[[], Any]], None]) -> None:
        """Find the agent, then send; ``finish`` gets what opens the outcome, once."""
        self._finish = finish
        if self._over:  # once more
            self._over = self._again = False
            self._breaks = self.error = None
        if self._out.maker is not None:
            self._out.maker.adopt(self.key, self.cancel, self.needs)
        if self._out.deadline is not None:
            self._session.limited.add(self)
        self._find()

    def _find(self) -> None:
        agent, session = self._aim.agent, self._session
        place = session.places.known(agent)
        # Who has to connect first does so where the line moves, so that nobody overtakes him.
        known = place is not None and session.workers.is_open(place, self.needs)
        if known and agent not in session.places.lines:
            self._guarded(self._send, place)
            return
        self._came = time.monotonic()
        self._out.freeze()
        first = session.places.lines.join(agent, self._located, known=known)
        if first is None:
            self._guarded(self._send, place)
        elif first:
            session.places.find(agent, self._aim.creation)

    def wire(self) -> tuple[Any, ...]:
        """The reference to the outcome."""
        announce(self._aim)
        epoch = self._place.epoch if self._place is not None else 0
        return (references.RESULT, self.key, self._aim.agent, self._aim.endpoint, epoch)

    def cancel(self) -> None:
        """Have the worker give the call up; if it has not been sent, it never is."""
        self._given_up = True
        self._session.cancel(self._aim.agent, self.key)

    def expire(self, now: float) -> None:
        """Fail if the deadline is over and nobody else said so: the agent may never get ready."""
        if self._out.deadline is not None and now >= self._out.deadline + LATE_S:
            self.cancel()
            self._fail(self._out.timed_out("agent"))

    # -- who wants to know -------------------------------------------------------------------------
    def lead(self, timeout: float | None) -> None:
        """Wait for the answer in this thread, so long at most; there may be none after it."""
        link, pending = self._link, self._pending
        if link is not None and pending is not None:
            with suppress(CallTimeout):
                link.wait(pending, None if timeout is None else link.clock() + timeout)

    def look(self) -> None:
        """Take the answer, if it is there."""
        link, pending = self._link, self._pending
        if link is not None and pending is not None and not pending.done:
            link.look()

    def read_by(self, attend: Callable[[Link], bool]) -> bool:
        """Whether an event loop takes the answer from the connection it comes by."""
        link, pending = self._link, self._pending
        return link is not None and pending is not None and pending.lazy and attend(link)

    def hurry(self) -> None:
        """Somebody is to be told as soon as it is done."""
        self._hurried = True
        link, pending = self._link, self._pending
        if link is not None and pending is not None:
            link.hurry(pending)

    def _unwanted(self) -> bool:
        return self._given_up

    def keep(self) -> None:
        """Others may repeat the call by its key: its outcome stays, as long as the worker can."""
        self._kept = True

    def hand_on(self) -> None:
        """Others get the outcome, and it need not come here; told as soon as the call is sent."""
        with self._lock:
            tell = self._sent and not self._handed_on
            self._handed_on = True
        if tell:
            self._session.keep(self._aim.agent, self.key)

    def release(self) -> None:
        """Nobody here will ask for the outcome again; told as soon as the call is sent."""
        with self._lock:
            tell = self._sent and not self.released
            self.released = True
        if tell and not self._kept:
            self._session.releases.add(self._aim.agent, self.key)

    def _was_sent(self) -> None:
        with self._lock:
            tell = self.released and not self._sent
            self._sent = True
            handed_on = self._handed_on
        if handed_on:
            self._session.keep(self._aim.agent, self.key)
        if tell and not self._kept:
            self._session.releases.add(self._aim.agent, self.key)

    def _located(self, found: Pending | AgentdError) -> None:
        def send() -> None:
            if isinstance(found, AgentdError):
                raise found
            place = self._session.places.located(found)
            self._aim.creation = None
            self._send(place)

        self._guarded(send)

    def _send(self, place: Ready) -> None:
        if self._unwanted():
            raise CancelledError
        self._place = place
        try:
            link = self._session.workers.link(place, self._came, self.needs)
            make = partial(
                self._out.message,
                place.epoch,
                link.ahead,
                again=self._again,
                plain=not self._session.daemon.reader.trusted,
            )
            self._pending = None
            pending = link.submit(make, self._out.payload, self._answered, lazy=not self._hurried)
            self._link, self._pending = link, pending
            if self._hurried and pending.lazy:
                link.hurry(pending)
        except DaemonNotFound as error:
            if not self._again:
                raise
            raise ConnectionLost(error.message, endpoint=error.endpoint) from None
        except LinkDown as error:
            if self._again:
                self._ask_again(place)
            else:
                self._moved(error)
            return
        self._was_sent()
        # Given up just now? Whoever did that may not have known where the call is.
        if self._unwanted():
            self._session.cancel(self._aim.agent, self.key)

    def _broke(self) -> Breaks:
        if self._breaks is None:
            self._breaks = Breaks()
        return self._breaks

    def _moved(self, error: AgentdError) -> None:
        assert self._place is not None
        self._session.places.forget(self._place)
        if self._again:  # it was sent, to a place where the agent is no more
            self._session.daemon.fate_later(self._place, self._fate)
            return
        breaks = self._broke()
        if not breaks.one_more():
            self._fail(error)
        elif breaks.number == 1:
            self._find()
        else:
            self._after_a_pause(self._find)

    def _answered(self, pending: Pending) -> None:
        self._guarded(self._take, pending)

    def _take(self, pending: Pending) -> None:
        place = self._place
        assert place is not None
        try:
            message, payload = pending.outcome()
        except LinkDown as error:
            if error.facts.get("sent"):
                self._ask_again(place)
            else:
                self._moved(error)
            return
        except (AgentNotFound, TooLate) as error:
            if not is_elsewhere(error):
                raise
            self._moved(error)
            return
        if isinstance(message, Result) and message.held:
            self._end(Held(self.wire(), partial(open_outcome, self._session)))
        elif isinstance(message, Result):
            self._end(partial(decode_value, self._proxy, self._out.name, message.codec, payload))
        else:
            outcome = Outcome(message, payload)
            self._end(partial(open_outcome, self._session, outcome, direct=self._aim.direct))

    def _ask_again(self, place: Ready) -> None:
        """The connection broke: if the worker lives, it knows what became of the call."""
        if not self._broke().one_more() or not self._session.workers.is_there(place):
            self._session.places.forget(place)
            self._session.daemon.fate_later(place, self._fate)
            return
        self._again = True
        self._after_a_pause(lambda: self._send_again(place))

    def _send_again(self, place: Ready) -> None:
        self._came = time.monotonic()
        if self._given_up:  # what said so may have been lost with the connection
            self._session.workers.link(place, self._came, self.needs)
            self._session.cancel(self._aim.agent, self.key)
        self._send(place)

    def _after_a_pause(self, step: Callable[[], None]) -> None:
        timer = threading.Timer(self._broke().pause, self._guarded, (step,))
        timer.daemon = True
        timer.start()

    def _fate(self, pending: Pending) -> None:
        def tell() -> None:
            pending.outcome()
            raise ConnectionLost("the connection broke during the call")

        self._guarded(tell)

    def _guarded(self, step: Callable[..., None], *args: Any) -> None:
        """Do a step; whatever it raises is the outcome, as nobody else would see it."""
        try:
            step(*args)
        except LinkDown as error:
            self._fail(ConnectionLost(error.message, endpoint=self._session.endpoint))
        except BaseException as error:  # noqa: BLE001 - as said
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.error = error if isinstance(error, AgentdError) else None
        self._end(partial(_raise, error))

    def _end(self, sealed: Callable[[], Any]) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            # It refers to the result, which refers to this: no work for the garbage collector,
            # who may come late to a value of megabytes, here or where it was made.
            finish, self._finish = self._finish, _nothing
        if self._out.deadline is not None:
            self._session.limited.discard(self)
        if self._out.maker is not None:
            self._out.maker.disown(self.key)
        finish(sealed)

    def leave(self) -> None:
        """It will not be sent again: its arguments need not live as long as its result."""
        done, self._done = self._done, None
        self._out.payload.clear()
        if done is not None:
            done()


def _nothing(*_: Any) -> None:
    """It is over already."""
