"""A call on its way: sent, sent again where it has to be, and answered, in nobody's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

from agentd.client import references
from agentd.client.breaks import Breaks
from agentd.client.calling import decode_value
from agentd.client.fetching import Outcome, open_outcome
from agentd.client.held import Held
from agentd.client.link import Link
from agentd.client.outgoing import Outgoing
from agentd.client.pending import LinkDown, Pending
from agentd.client.proxy import RpcObject, announce, session_of, target
from agentd.client.session import LATE_S, is_elsewhere
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    CallTimeout,
    ConnectionLost,
    DaemonNotFound,
    TooLate,
)
from agentd.protocol.messages import Ready, Result

__all__ = ["Sending"]


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
        if tell:
            self._tell_release()

    def _was_sent(self) -> None:
        with self._lock:
            tell = self.released and not self._sent
            self._sent = True
            handed_on = self._handed_on
        if handed_on:
            self._session.keep(self._aim.agent, self.key)
        if tell:
            self._tell_release()

    def _tell_release(self) -> None:
        # Not of the process that we were forked from: its lock may be held for ever here.
        if not self._kept and self._session.alive:
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


def _raise(error: BaseException) -> Any:
    raise error
