"""Outcomes of calls that others made: got from the worker where they wait, never from the caller.

A reference to an outcome is ``(RESULT, key, agent, endpoint, epoch)``; ``epoch`` is 0 where the
maker did not know it yet: it is asked for where the agent is now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from agentd.client import references
from agentd.client.breaks import MOVES, Breaks
from agentd.client.pending import LinkDown, Pending
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    ConnectionLost,
    ProtocolError,
    ResultExpired,
    from_wire,
)
from agentd.protocol.messages import Error, Fetch, Message, Ready, Result

if TYPE_CHECKING:
    from agentd.client.session import Session

__all__ = ["Found", "Outcome", "fetch", "fetch_all", "open_outcome"]


class Outcome(NamedTuple):
    """A finished call: its answer (``Result`` or ``Error``) and the payload."""

    message: Message
    payload: Any


Take = Callable[[Outcome | AgentdError], None]
Found = dict[bytes, Outcome] | AgentdError | Outcome
"""What came of several: all of them by key, or what the first that failed ended with."""


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


def fetch(wire: Any, take: Take) -> None:
    """Get the outcome behind a reference; ``take`` is called once, from any thread."""
    _Fetching(wire, take).begin()


def fetch_all(wires: list[Any], have: Callable[[Found], None]) -> None:
    """Get several; ``have`` is called once: with all by key, or with the first that failed."""
    lock = threading.Lock()
    found: dict[bytes, Outcome] = {}
    keys = {bytes(wire[1]) for wire in wires}
    over = False

    def take(key: bytes, outcome: Outcome | AgentdError) -> None:
        nonlocal over
        with lock:
            if over:
                return
            failed = isinstance(outcome, AgentdError) or isinstance(outcome.message, Error)
            if isinstance(outcome, Outcome):
                found[key] = outcome
            over = failed or len(found) == len(keys)
            if not over:
                return
        have(outcome if failed else found)

    for wire in {bytes(w[1]): w for w in wires}.values():
        fetch(wire, partial(take, bytes(wire[1])))


class _Fetching:
    """Finds the worker, asks it, and asks again should the agent have moved meanwhile."""

    def __init__(self, wire: Any, take: Take) -> None:
        from agentd.client.runtime import runtime

        # The sixth is written by the daemon, into the needs of a restricted peer: the name by
        # which the outcome is kept, where that is not the one in the reference.
        _mark, self._key, self._agent, endpoint, self._epoch, *kept = wire
        if kept:
            (self._key,) = kept
        self._session: Session = runtime().session_at(endpoint)
        self._take = take
        self._moves = 0
        self._breaks = Breaks()

    def begin(self) -> None:
        self._guarded(self._find)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step; what it raises is the outcome, as nobody else would see it."""
        try:
            step()
        except AgentdError as error:
            self._take(error)
        except Exception as error:  # noqa: BLE001 - out of descriptors, say
            self._take(ConnectionLost(f"cannot connect: {error}", endpoint=self._session.endpoint))

    def _find(self) -> None:
        place = self._session.places.known(self._agent)
        if place is None:
            self._session.places.locate_later(self._agent, self._located)
        else:
            self._ask(place)

    def _located(self, pending: Pending) -> None:
        self._guarded(lambda: self._ask(self._session.places.located(pending)))

    def _ask(self, place: Ready) -> None:
        if self._epoch and self._epoch != place.epoch:
            # The worker that had it is gone, and the outcome with it.
            lost = Ready(0, place.agent, place.cls, "", "", self._epoch, {})
            self._session.daemon.fate_later(lost, self._fate)
            return
        # We may be the pump, or the loop of somebody's asyncio.
        send = partial(self._guarded, partial(self._send, place))
        self._session.workers.when_open(place, send)

    def _send(self, place: Ready) -> None:
        try:
            link = self._session.workers.link(place)
            link.submit(
                lambda n: Fetch(n, self._agent, place.epoch, self._key),
                (),
                partial(self._answer, place),
            )
        except LinkDown as error:
            self._broke(place, error)

    def _answer(self, place: Ready, pending: Pending) -> None:
        try:
            message, payload = pending.outcome()
        except LinkDown as error:
            self._broke(place, error)
        except ResultExpired as error:
            self._expired(place, error)
        except AgentNotFound as error:
            self._gone(place, error)
        except AgentdError as error:
            self._take(error)
        else:
            self._take(Outcome(message, payload))

    def _expired(self, place: Ready, error: ResultExpired) -> None:
        """Not there; perhaps as the reference is older than a crash of the agent."""
        if self._epoch or place.epoch == 1:
            self._take(error)
            return
        before = Ready(0, place.agent, place.cls, "", "", place.epoch - 1, {})

        def fate(pending: Pending) -> None:
            self._take(pending.failure or error)

        try:
            self._session.daemon.fate_later(before, fate)
        except AgentdError:
            self._take(error)

    def _gone(self, place: Ready, error: AgentNotFound) -> None:
        """A daemon that relays knew before us that the agent is not there any more."""
        if not error.facts.get("moved") or self._moves >= MOVES:
            self._take(error)
        elif self._epoch:  # of that epoch: it went with its worker
            self._lost(place, error)
        else:
            self._moves += 1
            self._session.places.forget(place)
            self.begin()

    def _broke(self, place: Ready, error: LinkDown) -> None:
        """The connection did; if the worker is there it is asked again, as that changes nothing."""
        if not self._breaks.one_more() or not self._session.workers.is_there(place):
            self._lost(place, error)
            return
        step = partial(self._send, place)
        timer = threading.Timer(self._breaks.pause, self._guarded, (step,))
        timer.daemon = True
        timer.start()

    def _lost(self, place: Ready, error: AgentdError) -> None:
        self._session.places.forget(place)
        try:
            self._session.daemon.fate_later(place, self._fate)
        except AgentdError:
            self._take(error)

    def _fate(self, pending: Pending) -> None:
        try:
            pending.outcome()
        except AgentdError as error:
            self._take(error)
        else:
            self._take(ConnectionLost("the connection to the worker that has the result broke"))
