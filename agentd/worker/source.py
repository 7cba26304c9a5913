"""Where a message came from, and so where its answer goes."""

from __future__ import annotations

from typing import Any

from agentd.protocol import pack
from agentd.protocol.messages import Message
from agentd.transport.loop import AnyPort, Loop
from agentd.transport.unreachable import Unreachable

__all__ = ["Source"]


class Source:
    """Where a call came from, and so where its answer goes."""

    __slots__ = ("_loop", "_port", "_prefix", "own", "who")

    def __init__(self, loop: Loop, port: AnyPort, prefix: Any, *, own: bool = False) -> None:
        """``own``: of the daemon's user. All else bears a verdict, or brings plain data only."""
        self.own = own
        self._loop = loop
        self._port = port
        self._prefix = prefix
        self.who = (port.fd, bytes(prefix))
        """Equal for two messages of one connection."""

    def answer(self, message: Message, payload: list[Any] | tuple[Any, ...] = ()) -> bool:
        """Send it, from any thread; False if the one who asked is gone."""
        try:
            self._loop.send(self._port, [self._prefix, *pack(message, payload)])
        except Unreachable:
            return False
        return True

    def leave(self, number: int) -> None:
        """That question will be answered elsewhere, or not at all."""

    @property
    def port(self) -> AnyPort:
        """The socket it came by."""
        return self._port
