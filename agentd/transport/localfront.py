"""Where clients come in without ZeroMQ: a stream socket of this host, in a folder of our own.

The same to whoever serves it as ``front.FrontPort``: each message begins with its ``Origin``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, Literal

from agentd.transport.local import LocalRouter, Peer
from agentd.transport.origin import Origin
from agentd.transport.unreachable import Unreachable
from agentd.transport.wire import Broken

__all__ = ["LocalFront"]


class LocalFront(LocalRouter):
    """A listening socket for clients of this user. In the loop's thread only."""

    kind: Literal["ipc"] = "ipc"

    def __init__(self, listener: socket.socket, *, most: int, most_queued: int) -> None:
        super().__init__(listener, most=most, most_queued=most_queued)
        self._unsent: set[Peer] = set()
        self.on_message: Callable[[int, bytes, int], None] = lambda _fd, _route, _size: None
        """As of ``FrontPort``."""
        self.on_accepted: Callable[[int], None] = lambda _fd: None
        """Called with the descriptor of each new connection."""
        self.on_lost: Callable[[int], None] = lambda _fd: None
        """Called with the descriptor of one that has ended."""

    def put(self, frames: Sequence[Any]) -> None:
        """``send``, but they leave with the next ``flush``, or before what is sent next."""
        peer = self._peers.get(frames[0])
        if peer is None:
            raise Unreachable("it has gone")
        peer.wire.send(frames[1:], hold=True)
        self._unsent.add(peer)
        if peer.wire.queued > self._most_queued:
            self.cut_off += 1
            self._hang_up(peer)
            raise Unreachable("it does not read what it asked for")

    def flush(self) -> None:
        """Send what was put, as far as each peer takes it now; the rest follows."""
        unsent, self._unsent = self._unsent, set()
        for peer in unsent:
            with contextlib.suppress(Broken, OSError):  # the next look at it finds it broken
                if not peer.wire.flush() and not peer.writing:
                    self._write_later(peer)

    def _accepted(self, peer: Peer) -> None:
        self.on_accepted(peer.fd)

    def _serve(self, fd: int, events: int, most: int, messages: list[list[Any]]) -> None:
        peer = self._by_fd.get(fd)
        if peer is None:
            return
        came: list[list[Any]] = []
        super()._serve(fd, events, most, came)
        origin = Origin(peer.route, f"uid:{peer.uid}", fd)
        for message in came:
            message[0] = origin
            self.on_message(fd, peer.route, sum(map(len, message[1:])))
        messages.extend(came)

    def _drop(self, peer: Peer) -> None:
        known = peer.route in self._peers
        super()._drop(peer)
        if known:
            self.on_lost(peer.fd)
