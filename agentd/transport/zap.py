"""The authenticator: says of each key that knocks whether it is let in (ZeroMQ RFC 27).

libzmq asks it over an inproc socket, once a handshake. A peer of which nothing is read for a while
(``faults``) waits for its answer until then: else it would come in again and again, and each time
what it sends would be deciphered before anybody could see whose it is.

Not pyzmq's authenticator: that one keeps the old keys where a file is malformed, and hangs every
later handshake where a callback raises (measured, 27.3.0).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import zmq

from agentd.transport.curve import DOMAIN
from agentd.transport.origin import peer_of_key

__all__ = ["Authenticator", "Waits", "answer", "ask"]

log = logging.getLogger("agentd.transport")

ENDPOINT: Final = "inproc://zeromq.zap.01"
"""Fixed by the RFC. A context has one."""
STOP_S: Final = 2.0
"""How long its thread may take to end: it only ever answers from memory."""
_PARTS: Final = 6
"""Before the credentials: version, request id, domain, address, identity, mechanism."""
_ADDRESS: Final = 3
_ENVELOPE: Final = 2
"""Before all that: the route of who asks, and nothing."""

Decide = Callable[[bytes], str | None]
"""From a public key to the name of whoever has it, ``None`` to refuse; from any thread."""
Waits = Callable[[str], float]
"""For how many seconds more nothing of a peer (its name and address) is read; from any thread."""
MOST_WAITING: Final = 1_000
"""Handshakes; further ones are answered at once."""
PATIENCE: Final = 0.75
"""Of the time that a handshake may take: one that was ended would be taken for a wrong key."""


class Authenticator:
    """A thread that answers until ``stop``. Should it end by itself, ``died`` is called in it."""

    def __init__(
        self,
        context: zmq.Context[Any],
        decide: Decide,
        died: Callable[[], None],
        handshake_s: float = math.inf,
    ) -> None:
        """From now on it answers; before any socket is bound that it answers for.

        ``handshake_s``: after so long libzmq ends a handshake; nobody waits for longer than
        ``PATIENCE`` of it.
        """
        self._decide = decide
        self._died = died
        self._longest_s = PATIENCE * handshake_s
        self.waits: Waits = lambda _peer: 0.0
        self._waiting: list[tuple[float, int, list[bytes]]] = []
        """What is to be answered later, the next one first: when, and the request."""
        self._order = itertools.count()
        # Answers in any order; and one to who has gone is dropped.
        self._socket: Any = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="agentd-zap", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End the thread: from now on nobody new is let in. False: it does not end in time.

        Then its socket is left open, and the context must not be waited for.
        """
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            return False
        os.close(self._wake)
        return True

    def _run(self) -> None:
        try:
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._wake, zmq.POLLIN)
            while not self._stopping:
                if self._socket in dict(poller.poll(self._next_ms())):
                    self._take(self._socket.recv_multipart())
                while self._waiting and self._waiting[0][0] <= time.monotonic():
                    self._answer(heapq.heappop(self._waiting)[2])
        except Exception:  # whatever it is: nobody may stay behind a door without a keeper
            log.exception("the authenticator failed", extra={"action": "authenticator_died"})
        finally:
            self._socket.close(0)
            if not self._stopping:
                self._died()

    def _next_ms(self) -> int | None:
        if not self._waiting:
            return None
        return max(0, math.ceil((self._waiting[0][0] - time.monotonic()) * 1000))

    def _take(self, frames: list[bytes]) -> None:
        seconds = min(self._wait_s(frames[_ENVELOPE:]), self._longest_s)
        if seconds and len(self._waiting) < MOST_WAITING:
            due = time.monotonic() + seconds
            heapq.heappush(self._waiting, (due, next(self._order), frames))
        else:
            self._answer(frames)

    def _wait_s(self, request: list[bytes]) -> float:
        if len(request) != _PARTS + 1:
            return 0.0
        try:
            who = self._decide(request[-1])
        except Exception:  # noqa: BLE001 - told when it is answered, which is at once
            return 0.0
        address = request[_ADDRESS].decode("ascii", "replace")
        return self.waits(peer_of_key(who, address)) if who else 0.0

    def _answer(self, frames: list[bytes]) -> None:
        envelope, request = frames[:_ENVELOPE], frames[_ENVELOPE:]
        self._socket.send_multipart([*envelope, *self._reply(request)])

    def _reply(self, request: list[bytes]) -> list[bytes]:
        try:
            return answer(request, self._decide)
        except Exception:
            log.exception("a handshake could not be judged", extra={"action": "defect"})
            return _refusal(request, b"500", b"internal error")


def ask(
    context: zmq.Context[Any],
    key: bytes,
    timeout_s: float,
    stopped: Callable[[], bool] = lambda: False,
) -> bool | None:
    """Ask the authenticator of this context about a key, as libzmq does; ``None``: no answer.

    From any thread. ``stopped``: whether to give up, asked ten times a second.
    """
    until = time.monotonic() + timeout_s
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(ENDPOINT)
        socket.send_multipart([b"1.0", b"1", DOMAIN.encode(), b"", b"", b"CURVE", key])
        while not socket.poll(100):
            if stopped() or time.monotonic() >= until:
                return None
        reply: list[bytes] = socket.recv_multipart()
        return reply[2] == b"200"


def answer(request: list[bytes], decide: Decide) -> list[bytes]:
    """The reply to one request; what is not as it must be is refused."""
    if len(request) != _PARTS + 1 or request[0] != b"1.0":
        return _refusal(request, b"500", b"not a request of one key")
    _version, number, domain, _address, _identity, mechanism, key = request
    if domain != DOMAIN.encode() or mechanism != b"CURVE":
        return _refusal(request, b"400", b"not for this domain")
    who = decide(key)
    if not who:
        return _refusal(request, b"400", b"not authorised")
    return [b"1.0", number, b"200", b"OK", who.encode(), b""]


def _refusal(request: list[bytes], code: bytes, text: bytes) -> list[bytes]:
    number = request[1] if len(request) > 1 else b""
    return [b"1.0", number, code, text, b"", b""]
