"""Orders for agents: sent again when their connection breaks, which makes no second agent."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from agentd.client.breaks import MOVES, backoff
from agentd.client.link import Link
from agentd.client.pending import LinkDown, Pending
from agentd.client.shipping import Shipping
from agentd.errors import CallTimeout, ConnectionLost, ProtocolError, TooLate
from agentd.protocol.messages import Create
from agentd.serialization import Bundle, Encoded

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon

__all__ = ["Creation", "Orders", "broke_often"]


class Creation(NamedTuple):
    """An open request that makes an agent."""

    link: Link
    pending: Pending
    again: Callable[[], Creation]
    """Send it again, as the connection broke: it makes no second agent."""


EVERY: Final = 64
"""Orders; twice as many may be open before somebody who gives more waits for the first of them. Of
2,000 agents that were ordered at once each took 3 to 4 KiB of the servers, as what waits takes
memory, too; so it is 2. With half as many fewer are made in a second."""
PATIENCE_S: Final = 0.1
"""How long: agents may take long to be built, and nobody is to wait for that here."""


class Orders:
    """Those that go to one daemon. From any thread."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._shipping = Shipping(daemon)
        self._count = itertools.count(1)
        self._marks: deque[tuple[Link, Pending]] = deque()
        """One of ``EVERY`` that were given."""

    def create(
        self, create: Callable[..., Create], encoded: Encoded, bundle: Bundle | None = None
    ) -> Creation:
        """Send it, after the code it needs; the open request, settled when the agent is ready."""
        payload = [encoded.head, *encoded.buffers]

        def make(number: int) -> Create:
            return create(number, at=self._daemon.now(), plain=not self._daemon.reader.trusted)

        def send(*, anew: bool = True) -> Creation:
            for attempt in range(MOVES):
                if bundle is not None:
                    self._shipping.offer(bundle, anew=anew or attempt > 0)
                link = self._daemon.connect()
                try:
                    return Creation(link, link.submit(make, payload), send)
                except LinkDown:
                    time.sleep(backoff(attempt))
            raise broke_often(self._daemon.endpoint)

        creation = send(anew=False)
        if next(self._count) % EVERY == 0:
            self._keep_pace(creation.link, creation.pending)
        return creation

    def _keep_pace(self, link: Link, pending: Pending) -> None:
        """Wait for the last one but one that was marked, though not for long."""
        self._marks.append((link, pending))
        with suppress(IndexError, LinkDown, CallTimeout):
            while len(self._marks) > 2:
                asked, first = self._marks.popleft()
                if asked is link and not first.done:  # not of a connection that is no more
                    link.wait(first, link.clock() + PATIENCE_S)

    def wait_accepted(self, creation: Creation) -> tuple[Creation, bytes, bool]:
        """Wait until the daemon took the agent: its id, and whether it existed already."""
        deadline = time.monotonic() + 30.0
        for attempt in range(MOVES):
            link, pending, again = creation
            try:
                link.wait(pending, deadline, lambda p: p.accepted is not None or p.done)
                if pending.accepted is not None:
                    return creation, pending.accepted.agent, pending.accepted.existing
                pending.outcome()
                raise ProtocolError("the daemon did not say that it accepted the agent")
            except (LinkDown, TooLate):  # as in ``Places.settle``
                time.sleep(backoff(attempt))
                creation = again()
        raise broke_often(self._daemon.endpoint)


def broke_often(endpoint: str) -> ConnectionLost:
    """An agent that was ordered will not be waited for any longer."""
    return ConnectionLost(
        f"the connection to {endpoint} broke {MOVES} times during the creation", endpoint=endpoint
    )
