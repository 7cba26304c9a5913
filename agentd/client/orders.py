"""Orders for agents: sent again when their connection breaks, which makes no second agent."""

from __future__ import annotations

import itertools
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
    order: Order

    def again(self) -> Creation:
        """Send it again, as the connection broke: it makes no second agent."""
        return self.order.send(anew=True)


EVERY: Final = 64
"""Orders; twice as many may be open before somebody who gives more waits for the first of them. Of
2,000 agents that were ordered at once each took 3 to 4 KiB of the servers, as what waits takes
memory, too; so it is 2. With half as many fewer are made in a second."""
PATIENCE_S: Final = 0.1
"""How long: agents may take long to be built, and nobody is to wait for that here."""


_AT: Final = Create.places["at"][0]
_PLAIN: Final = Create.places["plain"][0]


class Order:
    """What was ordered, for as long as it may have to be sent again.

    There are thousands of them at a time, each looked at by Python's garbage collector again and
    again: so it is one object, and no closure.
    """

    __slots__ = ("_bundle", "_like", "_orders", "_payload")

    def __init__(
        self, orders: Orders, like: Create, payload: tuple[Any, ...], bundle: Bundle | None
    ) -> None:
        self._orders = orders
        self._like = like
        self._payload = payload
        self._bundle = bundle

    def send(self, *, anew: bool) -> Creation:
        """Send it, after the code it needs. ``anew``: although that was done already."""
        orders, bundle = self._orders, self._bundle
        for attempt in range(MOVES):
            if bundle is not None:
                orders.shipping.offer(bundle, anew=anew or attempt > 0)
            link = orders.daemon.connect()
            try:
                return Creation(link, link.submit(self._message, self._payload, lazy=True), self)
            except LinkDown:
                time.sleep(backoff(attempt))
        raise broke_often(orders.daemon.endpoint)

    def _message(self, number: int) -> Create:
        values: list[Any] = list(self._like)
        values[0] = number
        values[_AT] = self._orders.daemon.now()
        values[_PLAIN] = not self._orders.daemon.reader.trusted
        return Create.from_values(values)


class Orders:
    """Those that go to one daemon. From any thread."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.shipping = Shipping(daemon)
        self._count = itertools.count(1)
        self._marks: deque[tuple[Link, Pending]] = deque()
        """One of ``EVERY`` that were given."""

    def create(self, like: Create, encoded: Encoded, bundle: Bundle | None = None) -> Creation:
        """Send it, after the code it needs; the open request, settled when the agent is ready.

        ``like``: but for its number, the time, and whether the answer is to be plain data. Nobody
        is woken by the answer: whoever wants to know of it waits, or asks to be called.
        """
        order = Order(self, like, (encoded.head, *encoded.buffers), bundle)
        creation = order.send(anew=False)
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
            link, pending, _order = creation
            try:
                link.wait(pending, deadline, lambda p: p.accepted is not None or p.done)
                if pending.accepted is not None:
                    return creation, pending.accepted.agent, pending.accepted.existing
                pending.outcome()
                raise ProtocolError("the daemon did not say that it accepted the agent")
            except (LinkDown, TooLate):  # as in ``Places.settle``
                time.sleep(backoff(attempt))
                creation = creation.again()
        raise broke_often(self.daemon.endpoint)


def broke_often(endpoint: str) -> ConnectionLost:
    """An agent that was ordered will not be waited for any longer."""
    return ConnectionLost(
        f"the connection to {endpoint} broke {MOVES} times during the creation", endpoint=endpoint
    )
