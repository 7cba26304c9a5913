"""Where clients come in without ZeroMQ: a stream socket of this host, in a folder of our own.

The same to whoever serves it as ``front.FrontPort``: each message begins with its ``Origin``, and
who makes work that helps nobody is served slowly. That is counted by process, as at a worker's own
socket; of other users all processes together, as they could have any number of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Literal

from agentd.transport.localrouter import LocalRouter
from agentd.transport.origin import Noting, Origin
from agentd.transport.portions import Portions

__all__ = ["LocalFront"]


class LocalFront(LocalRouter):
    """A listening socket for clients of this host. In the loop's thread only."""

    kind: Literal["ipc"] = "ipc"

    def __init__(
        self,
        listener: socket.socket,
        *,
        uids: Callable[[int], bool],
        most: int,
        most_queued: int,
        portions: Portions | None = None,
    ) -> None:
        # What the daemon is told it relays, so it takes nothing by shared memory.
        super().__init__(
            listener,
            uids=uids,
            most=most,
            most_queued=most_queued,
            shares=False,
            portions=portions,
        )
        self.on_message: Noting = lambda origin, _frames, _size: origin
        """As of ``FrontPort``."""

    def put(self, frames: Sequence[Any]) -> None:
        """``send``, but they leave with the next ``flush``, or before what is sent next."""
        self.hold_back()
        try:
            self.send(frames)
        finally:
            self._holder = 0

    def flush(self) -> None:
        """Send what was put, as far as each peer takes it now; the rest follows."""
        self.let_go()

    def forget(self, route: bytes) -> None:
        """That peer has gone. What it owes its process still does, which may come again."""

    def _serve(self, fd: int, events: int, messages: list[list[Any]]) -> bool:
        peer = self._by_fd.get(fd)
        if peer is None:
            return False
        before = len(messages)
        more = super()._serve(fd, events, messages)
        if len(messages) > before:
            # Who has gone has no descriptor any more: the next to come gets the same.
            there = fd if peer.route in self._peers else -1
            origin = Origin(peer.route, f"uid:{peer.uid}", there, peer.owner)
            for message in messages[before:]:
                size = sum(map(len, message[1:]))
                message[0] = self.on_message(origin, len(message) - 1, size)
        return more
