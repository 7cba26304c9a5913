"""Where a message came from, and so where its answer goes."""

from __future__ import annotations

from typing import Any

from agentd.protocol import pack
from agentd.protocol.messages import Message
from agentd.transport.loop import AnyPort, Loop
from agentd.transport.origin import Address
from agentd.transport.unreachable import Unreachable
from agentd.worker.questions import OWN, Asked

__all__ = ["Source"]


class Source:
    """Where a call came from, and so where its answer goes."""

    __slots__ = ("_loop", "_port", "_prefix", "asked", "own", "who")

    def __init__(
        self, loop: Loop, port: AnyPort, asked: Asked, address: Address, prefix: Any
    ) -> None:
        """``prefix``: the first frame of answers, the route of ``address``."""
        self.who = address
        """Equal for two messages of one connection."""
        self.own = address[0] == OWN
        """Of the daemon's user, straight. All else bears a verdict, or brings plain data only."""
        self.asked = asked
        """What is open."""
        self._loop = loop
        self._port = port
        self._prefix = prefix

    def answer(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> bool:
        """Send it, from any thread; False if the one who asked is gone."""
        self.asked.answered(message)
        try:
            self._loop.send(self._port, [self._prefix, *pack(message, payload)])
        except Unreachable:
            self.asked.unsent(message)
            return False
        return True

    def leave(self, number: int) -> None:
        """That question will be answered elsewhere, or not at all, or has ended."""
        self.asked.leave(number)

    @property
    def port(self) -> AnyPort:
        """The socket it came by."""
        return self._port
