"""What those who come straight to a worker have asked it, and not been answered yet.

Counted at its own socket and at its door to the network alike, by the limits that the daemon has
for what it relays. Asked in the loop's thread, answered from any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, TypeAlias

from agentd.errors import Overloaded, PayloadTooLarge, ProtocolError
from agentd.protocol.budgets import Budgets, Held, Room
from agentd.protocol.messages import Attach, Call, Fetch, Message, Read
from agentd.protocol.sizes import check_size
from agentd.transport.counted import Counted
from agentd.worker.settings import Settings

__all__ = ["ASKING", "OWN", "RELAYED", "Asked", "Asking", "Questions", "open_already"]

Asking: TypeAlias = Call | Fetch | Read | Attach

OWN: Final = -1
"""The worker's own socket; from 0 those of its door to the network."""
RELAYED: Final = -2
"""The daemon, which counts itself what it waits for: here its one-way calls count."""
ASKING: Final = (Call, Fetch, Read, Attach)
"""What may stay open, and so is counted."""
_LASTING: Final = ("stream", "watch")
"""Operations whose answers end with their reader."""
_NO_ANSWERS: Final = frozenset(("accepted", "chunk", "pong", "welcome"))
"""Others follow, or the call goes on, or they answer none that is counted."""


def open_already(number: int) -> ProtocolError:
    """The error for a question with the number of one that is open."""
    return ProtocolError(f"question {number} of this connection is open already")


class Questions:
    """All that are open, of all clients."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._most = settings.max_message_bytes
        self._clock = clock
        self._budgets = Budgets(
            Room(settings.client_calls, settings.client_bytes),
            Room(settings.agent_calls, settings.agent_bytes),
            Room(settings.daemon_calls, settings.daemon_bytes),
            clock,
        )
        self._closed: deque[tuple[Held, float]] = deque()
        """Answered since one was opened last, and when: given back then, in the loop's thread."""
        self._too_large = 0
        self.on_count: Callable[[], None] = lambda: None
        """Called when one more was over a limit."""

    def __len__(self) -> int:
        """How many."""
        return len(self._budgets) - len(self._closed)

    def counted(self) -> Counted:
        """How many were over which limit."""
        return Counted.of_refused(self._budgets.refused, self._too_large)

    def open(self, client: Hashable, question: Asking, size: int) -> Held:
        """Count one until ``close``. Raises ``PayloadTooLarge``, ``Overloaded``: then it is not.

        In the loop's thread.
        """
        closed = self._closed
        while closed:
            self._budgets.close(*closed.popleft())
        try:
            if size > self._most:
                check_size(question.kind, size, self._most, "the worker")
            return self._budgets.open(client, question.agent, size)
        except (PayloadTooLarge, Overloaded) as error:
            self._too_large += isinstance(error, PayloadTooLarge)
            self.on_count()
            raise

    def close(self, held: Held) -> None:
        """It is answered; once. From any thread."""
        self._closed.append((held, self._clock()))


class Asked:
    """Those of one connection."""

    __slots__ = ("_client", "_lasting", "_open", "_questions")

    def __init__(self, questions: Questions, client: Hashable) -> None:
        """``client``: whose connection it is."""
        self._questions = questions
        self._client = client
        self._open: dict[int, Held] = {}
        self._lasting: set[int] = set()

    def admit(self, question: Asking, size: int) -> None:
        """Count a question that is not open until it is answered.

        Raises ``PayloadTooLarge``, ``Overloaded``: then it is not.
        """
        self._open[question.id] = self._questions.open(self._client, question, size)
        if type(question) is Attach or (type(question) is Call and question.op in _LASTING):
            self._lasting.add(question.id)

    def is_open(self, number: int) -> bool:
        """Whether the question with that number is."""
        return number in self._open

    def answered(self, message: Message) -> None:
        """Something is said to the client, which may be the answer to one.

        That a one-way call was accepted is not its end: it still takes memory.
        """
        if message.kind not in _NO_ANSWERS:
            self.leave(getattr(message, "id", 0))

    def unsent(self, message: Message) -> None:
        """That could not be said: a reader that is gone is told no end."""
        if message.kind == "chunk":
            self.leave(getattr(message, "id", 0))

    def leave(self, number: int) -> None:
        """That one will not be answered here (any more)."""
        held = self._open.pop(number, None)  # one step, so that each is given back once
        if held is not None:
            self._questions.close(held)
            self._lasting.discard(number)

    def lost(self) -> None:
        """The connection has ended. Calls go on, and count until they end; readers do not."""
        for number in list(self._lasting):
            self.leave(number)
