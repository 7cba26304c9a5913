"""What those who come straight to a worker have asked it, and not been answered yet.

Counted at its own socket and at its door to the network alike, by the limits that the daemon has
for what it relays. From any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Final, TypeAlias

from agentd.errors import Overloaded, PayloadTooLarge, ProtocolError
from agentd.protocol.budgets import Budgets, Room
from agentd.protocol.messages import Attach, Call, Fetch, Message, Read
from agentd.protocol.sizes import check_size
from agentd.transport.counted import Counted
from agentd.transport.origin import Address
from agentd.worker.settings import Settings

__all__ = ["ASKING", "OWN", "RELAYED", "Asking", "Questions", "open_already"]

Asking: TypeAlias = Call | Fetch | Read | Attach

OWN: Final = -1
"""The worker's own socket; from 0 those of its door to the network."""
RELAYED: Final = -2
"""The daemon, which counts itself what it waits for: here its one-way calls count."""
ASKING: Final = (Call, Fetch, Read, Attach)
"""What may stay open, and so is counted."""
_LASTING: Final = ("stream", "watch")
"""Operations whose answers end with their reader."""
_NO_ANSWERS: Final = ("accepted", "chunk", "pong", "welcome")
"""Others follow, or the call goes on, or they answer none that is counted."""


def open_already(number: int) -> ProtocolError:
    """The error for a question with the number of one that is open."""
    return ProtocolError(f"question {number} of this connection is open already")


class Questions:
    """All that are open, of all clients."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._most = settings.max_message_bytes
        self._lock = threading.Lock()  # protects all below
        self._budgets = Budgets(
            Room(settings.client_calls, settings.client_bytes),
            Room(settings.agent_calls, settings.agent_bytes),
            Room(settings.daemon_calls, settings.daemon_bytes),
            clock,
        )
        self._lasting: dict[Address, set[int]] = {}
        self._too_large = 0
        self.on_count: Callable[[], None] = lambda: None
        """Called when one more was over a limit."""

    def admit(self, address: Address, client: Hashable, question: Asking, size: int) -> None:
        """Count a question that is not open until it is answered.

        Raises ``PayloadTooLarge``, ``Overloaded``: then it is not.
        """
        try:
            check_size(question.kind, size, self._most, "the worker")
            with self._lock:
                self._budgets.take((address, question.id), client, question.agent, size)
                if type(question) is Attach or (type(question) is Call and question.op in _LASTING):
                    self._lasting.setdefault(address, set()).add(question.id)
        except (PayloadTooLarge, Overloaded) as error:
            self._too_large += isinstance(error, PayloadTooLarge)
            self.on_count()
            raise

    def counted(self) -> Counted:
        """How many were over which limit."""
        return Counted.of_refused(self._budgets.refused, self._too_large)

    def is_open(self, address: Address, number: int) -> bool:
        """Whether the question with that number is."""
        return self._budgets.holds((address, number))

    def answered(self, address: Address, message: Message) -> None:
        """Something is said to a client, which may be the answer to one.

        That a one-way call was accepted is not its end: it still takes memory.
        """
        if message.kind not in _NO_ANSWERS:
            self.leave(address, getattr(message, "id", 0))

    def unsent(self, address: Address, message: Message) -> None:
        """That could not be said: a reader that is gone is told no end."""
        if message.kind == "chunk":
            self.leave(address, getattr(message, "id", 0))

    def leave(self, address: Address, number: int) -> None:
        """That one will not be answered here (any more)."""
        with self._lock:
            self._budgets.give((address, number))
            lasting = self._lasting.get(address)
            if lasting is not None:
                lasting.discard(number)
                if not lasting:
                    del self._lasting[address]

    def lost(self, address: Address) -> None:
        """That connection has ended. Calls go on, and count until they end; readers do not."""
        with self._lock:
            for number in self._lasting.pop(address, ()):
                self._budgets.give((address, number))
