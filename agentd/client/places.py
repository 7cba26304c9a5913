"""Where the agents of one daemon are: with its answer comes the address of an agent's worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agentd.client import references
from agentd.client.breaks import MOVES, backoff
from agentd.client.lines import Lines
from agentd.client.orders import Creation, broke_often
from agentd.client.pending import LinkDown, Pending
from agentd.errors import (
    AgentCreationError,
    AgentdError,
    CallTimeout,
    ConnectionLost,
    ProtocolError,
    TooLate,
)
from agentd.protocol.messages import Error, Locate, Ready

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon
    from agentd.client.workers import Workers

__all__ = ["Places"]


class Places:
    """As far as known here, and asked for. From any thread."""

    def __init__(self, daemon: Daemon, workers: Workers) -> None:
        self.lines = Lines()
        """The calls of agents whose place is not known yet."""
        self._daemon = daemon
        self._workers = workers
        self._known: dict[bytes, Ready] = {}

    # -- known -------------------------------------------------------------------------------------
    def known(self, agent: bytes) -> Ready | None:
        """Where the agent is, if that is known here."""
        return self._known.get(agent)

    def addresses(self) -> set[str]:
        """Of the workers that have those agents."""
        return {place.address for place in list(self._known.values())}

    def forget(self, place: Ready) -> None:
        """The agent is not there (any more)."""
        if self._known.get(place.agent) is place:
            self._known.pop(place.agent, None)

    def leave(self, address: str) -> None:
        """No agent is there (any more)."""
        for place in [each for each in list(self._known.values()) if each.address == address]:
            self.forget(place)

    def clear(self) -> None:
        """Forget them all."""
        self._known.clear()

    # -- asked for, and waited for -----------------------------------------------------------------
    def of(self, agent: bytes, deadline: float | None = None) -> Ready:
        """Where the agent is, as far as known; else ask. After the calls that wait for that."""
        came = time.monotonic()
        left = None if deadline is None else max(0.0, deadline - came)
        if not self.lines.wait(agent, left):
            raise CallTimeout("the agent was not found in time")
        return self._known.get(agent) or self.locate(agent, deadline=deadline, came=came)

    def locate(
        self,
        agent: bytes | None = None,
        name: str | None = None,
        deadline: float | None = None,
        came: float | None = None,
    ) -> Ready:
        """Ask where an agent is; waits until it is ready. ``came``: see ``Daemon.connect``."""
        why = ""
        for attempt in range(MOVES):
            link = self._daemon.connect(came)
            try:
                pending = link.submit(lambda n: Locate(n, agent, name))
                return self.located(link.wait(pending, deadline))
            except LinkDown as error:
                came = None
                why = error.message
                time.sleep(backoff(attempt))
        raise ConnectionLost(why, endpoint=self._daemon.endpoint)

    def settle(self, agent: bytes, creation: Creation, deadline: float | None) -> Ready:
        """Wait until a created agent is ready; raises ``AgentCreationError`` and others."""
        for attempt in range(MOVES):
            link, pending, _order = creation
            if self._is_parents(creation):
                return self.locate(agent, deadline=deadline)
            try:
                return self.located(pending if pending.done else link.wait(pending, deadline))
            except (LinkDown, TooLate) as error:  # the daemon may have taken it, or not
                if attempt or isinstance(error, LinkDown):  # else it was behind, and is no more
                    time.sleep(backoff(attempt))
                creation = creation.again()
        raise broke_often(self._daemon.endpoint)

    def _is_parents(self, creation: Creation) -> bool:
        """Whether it was made before a fork, by the parent."""
        return creation.link is not self._daemon.link and not creation.pending.done

    # -- asked for, and told later -----------------------------------------------------------------
    def locate_later(self, agent: bytes, callback: Callable[[Pending], None]) -> None:
        """Ask where an agent is; ``callback`` gets the request to give to ``located``."""
        self._daemon.ask_later(lambda n: Locate(n, agent), callback)

    def find(self, agent: bytes, creation: Creation | None, attempt: int = 0) -> None:
        """Find out where the agent is and have its line move, with the settled request."""
        if creation is not None and self._is_parents(creation):
            creation = None
        move = partial(self._found, agent, creation, attempt)
        try:
            if creation is None:
                self.locate_later(agent, move)
            else:
                creation.link.when_done(creation.pending, move)
        except AgentdError as error:
            move(error)

    def _find_again(self, agent: bytes, creation: Creation | None, attempt: int) -> None:
        """As the connection broke, or the daemon was behind; those who wait stay in their line."""
        try:
            self.find(agent, None if creation is None else creation.again(), attempt)
        except AgentdError as error:
            self.lines.move(agent, error)

    def _found(
        self, agent: bytes, creation: Creation | None, attempt: int, found: Pending | AgentdError
    ) -> None:
        failure = found.failure if isinstance(found, Pending) else found
        if isinstance(failure, (LinkDown, TooLate)) and attempt < MOVES:
            args = (agent, creation, attempt + 1)
            timer = threading.Timer(backoff(attempt), self._find_again, args)
            timer.daemon = True
            timer.start()
        else:
            self._move(agent, found)

    def _move(self, agent: bytes, found: Pending | AgentdError) -> None:
        """Have the agent's line move; where its worker has to be met first, not in this thread."""
        place = found.message if isinstance(found, Pending) else None
        move = partial(self.lines.move, agent, found)
        if isinstance(place, Ready):
            self._workers.when_open(place, move)
        else:
            move()

    def located(self, pending: Pending) -> Ready:
        """The outcome of a settled ``create`` or ``locate``; raises why the agent is nowhere."""
        try:
            message, _payload = pending.outcome()
        except AgentCreationError as error:
            raise self._with_cause(error, pending) from error.__cause__
        if not isinstance(message, Ready):
            raise ProtocolError(
                f"the daemon answered {message.kind!r} where an agent was asked for"
            )
        self._known[message.agent] = message
        return message

    def _with_cause(self, error: AgentCreationError, pending: Pending) -> AgentCreationError:
        """The error with the original exception, as this process can rebuild it, as its cause."""
        message = pending.message
        if isinstance(message, Error):
            facts = dict(message.facts.get("cause") or {})
            error.__cause__ = self._daemon.reader.decode_error(
                facts,
                message.codec,
                pending.payload or (),
                references.received(direct=self._workers.direct, daemon=self._daemon),
            )
            error.facts = {k: v for k, v in error.facts.items() if k not in ("cause", "codec")}
        return error
