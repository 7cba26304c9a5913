"""``AsyncResult``: the value of a call that has not come yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from agentd.client import references
from agentd.client.context import current, undisturbed
from agentd.client.farewell import leave
from agentd.client.fetching import Outcome, fetch, open_outcome
from agentd.client.held import Held
from agentd.client.retry import Retry
from agentd.errors import AgentdError

if TYPE_CHECKING:
    from agentd.client.link import Link
    from agentd.client.sending import Sending

__all__ = ["AsyncResult"]

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


def _raise(error: BaseException) -> Any:
    raise error


def _value(value: Any) -> Any:
    return value


def _restore(wire: tuple[Any, ...]) -> Any:
    return references.active().from_wire(tuple(wire))
