"""Reading a file of an agent's host: part by part, several ahead, across lost connections."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentd.client.breaks import MOVES, backoff
from agentd.client.context import current
from agentd.client.link import Link
from agentd.client.options import check_timeout
from agentd.client.pending import LinkDown, Pending
from agentd.client.runtime import runtime
from agentd.client.saving import CHUNK
from agentd.errors import AgentNotFound, CallTimeout, ConnectionLost, ProtocolError
from agentd.protocol.messages import Error, Read, Ready, Result

if TYPE_CHECKING:
    from agentd.client.files import FileReference
    from agentd.client.session import Session

__all__ = ["Download"]

AHEAD: Final = 4
"""Requests on their way at once: the worker reads while the last part is written here."""


class Download:
    """The bytes of one file, in order. For one thread."""

    def __init__(
        self, reference: FileReference, timeout: float | None, *, direct: bool = True
    ) -> None:
        """``timeout`` in seconds, for all of it; within a call, at most what that one has left."""
        check_timeout("save", timeout)
        self._reference = reference
        self._session: Session = runtime().session_at(reference.endpoint, direct=direct)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        call = current()
        if call is not None and call.deadline is not None:
            mine = call.deadline if self._deadline is None else self._deadline
            self._deadline = min(mine, call.deadline)
        self._timeout = timeout
        self._offset = 0
        self._place: Ready | None = None

    def chunks(self) -> Generator[Any, None, None]:
        """The parts; after a break it goes on where it was.

        Raises ``ResultExpired``, ``AgentNotFound``, ``AgentCrashed``, ``ConnectionLost``,
        ``CallTimeout``, and the ``OSError`` of whoever reads it there.
        """
        breaks = 0
        while self._offset < self._reference.size:
            before = self._offset
            try:
                yield from self._run()
            except LinkDown as error:
                breaks = 1 if self._offset > before else breaks + 1
                self._mend(error, breaks)
            except AgentNotFound as error:
                breaks += 1
                if not error.facts.get("moved") or breaks > MOVES or self._place is None:
                    raise
                self._session.places.forget(self._place)  # the daemon knows what became of it
            except CallTimeout:
                raise self._timed_out() from None

    def _run(self) -> Generator[Any, None, None]:
        """As far as it goes without a break."""
        size = self._reference.size
        link = self._connect()
        asked = self._offset
        ahead: deque[tuple[Pending, int]] = deque()
        try:
            while self._offset < size:
                while asked < size and len(ahead) < AHEAD:
                    part = min(CHUNK, size - asked)
                    ahead.append((link.submit(partial(self._message, asked, part)), part))
                    asked += part
                pending, part = ahead[0]
                found = self._part(link, pending, part)
                ahead.popleft()
                self._offset += part
                yield found
        finally:
            for pending, _part in ahead:
                link.drop(pending)

    def _connect(self) -> Link:
        wanted = self._reference
        place = self._place = self._session.places.of(wanted.agent, self._deadline)
        if place.epoch != wanted.epoch:
            # The worker that knew the file is gone.
            lost = Ready(0, place.agent, place.cls, "", "", wanted.epoch, {})
            raise self._session.daemon.fate(lost)
        return self._session.workers.link(place)

    def _message(self, offset: int, size: int, number: int) -> Read:
        wanted = self._reference
        return Read(number, wanted.agent, wanted.epoch, wanted.token, offset, size)

    def _part(self, link: Link, pending: Pending, size: int) -> Any:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise self._timed_out()  # also if the next part is here: whoever writes them is slow
        message, payload = link.wait(pending, self._deadline).outcome()
        if isinstance(message, Error):
            raise self._session.raised(message, payload)
        if not isinstance(message, Result) or len(payload) != 1 or len(payload[0]) != size:
            raise ProtocolError("the worker did not answer with the bytes that were asked for")
        return payload[0]

    def _mend(self, error: LinkDown, breaks: int) -> None:
        """The connection broke: again, if the worker still lives; else raise what became of it."""
        place = self._place
        if place is None or breaks > MOVES:
            raise ConnectionLost(
                f"the connection broke {breaks} times while {self._reference.name!r} was read: "
                f"{error.message}",
                endpoint=self._session.endpoint,
            ) from None
        if not self._session.workers.is_there(place):
            self._session.places.forget(place)
            raise self._session.daemon.fate(place) from None
        time.sleep(backoff(breaks))

    def _timed_out(self) -> CallTimeout:
        limit = "its deadline" if self._timeout is None else f"{self._timeout:g} s"
        return CallTimeout(
            f"the file {self._reference.name!r} was not here within {limit}",
            agent=self._reference.agent.hex(),
            timeout=self._timeout,
        )
