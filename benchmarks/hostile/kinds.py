"""What hostile and slow peers do. Each goes on until its process is ended."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

from agentd.protocol import MAX_HEADER_BYTES, pack
from agentd.protocol.messages import Ask, Call, Ping
from agentd.transport.pieces import cut
from benchmarks.hostile.lines import CurveLine, Line, Target

__all__ = ["KINDS", "Harm", "burn"]

CHUNK = 64 * 1024
"""Sent at once, at least."""
MANY = 512
"""Different messages, over and over, where they need not be sealed anew."""
FEW = 16
"""Otherwise."""
HALF_OPEN = 300
SLOW_BYTES = 4096
SLOW_S = 0.02
BIG = 8 * 1024 * 1024
PAYLOAD = b"\x92\x91\xa5hello\x80"
"""The arguments of ``echo("hello")``."""
Reads = Literal["all", "slowly", "nothing"]


class Harm:
    """What one peer needs for it."""

    def __init__(self, line: Line, target: Target, begins: Callable[[], None]) -> None:
        """``begins`` is called as soon as there is a first connection."""
        self._begins = begins
        self.line = line
        self.target = target
        self._has_begun = False

    def opened(self, connected: socket.socket) -> socket.socket:
        """It has begun, and does not block from now on."""
        self.begin()
        connected.settimeout(0)
        return connected

    def begin(self) -> None:
        """There is a connection."""
        if not self._has_begun:
            self._has_begun = True
            self._begins()


def _calls(harm: Harm) -> Iterator[list[bytes]]:
    agent = bytes.fromhex(harm.target.agent)
    for number in itertools.count(10):
        call = Call(number, agent, harm.target.epoch, "method", "echo", "data")
        yield [*pack(call), PAYLOAD]


def _asks(harm: Harm) -> Iterator[list[bytes]]:
    if harm.target.door == "worker":
        yield from _calls(harm)
    for number in itertools.count(10):
        yield pack(Ask(number, "info"))


def _pings(_harm: Harm) -> Iterator[list[bytes]]:
    for number in itertools.count(10):
        yield pack(Ping(number))


def _garbage(_harm: Harm) -> Iterator[list[bytes]]:
    kinds = (b"", b"AGD1", b"AGD1\x81\xa4kind\xa4evil", b"HTTP/1.1 200 OK", b"AGD1" + b"\x91" * 200)
    for number in itertools.count():
        yield [kinds[number % len(kinds)]]


def _dear(_harm: Harm) -> Iterator[list[bytes]]:
    """Headers as large as they may be, which are refused at their very end only."""
    header = b"AGD1\xdc\x1f\x40" + b"\xa1x" * 8_000
    assert len(header) < MAX_HEADER_BYTES
    return itertools.repeat([header])


def _big(harm: Harm) -> Iterator[list[bytes]]:
    payload = bytes(BIG)
    frames = cut([payload]) if harm.target.door == "curve" else [payload]
    return ([*pack(Ping(number)), *frames] for number in itertools.count(10))


def _tokens(harm: Harm) -> Iterator[list[bytes]]:
    """Agents that are not there, under an epoch that never was."""
    for number in itertools.count(10):
        agent = number.to_bytes(16, "big")
        yield [*pack(Call(number, agent, 99, "method", "echo", "data", key=bytes(24))), PAYLOAD]


def _parts(harm: Harm) -> Iterator[list[bytes]]:
    return itertools.repeat([bytes(1024 if harm.target.door == "worker" else CHUNK)])


Messages = Callable[[Harm], Iterator[list[bytes]]]


def flood(
    harm: Harm,
    messages: Messages,
    *,
    reads: Reads = "all",
    introduced: bool = True,
    finished: bool = True,
) -> None:
    """Send as much as is taken; whenever the connection is ended, begin anew."""
    line = harm.line
    again = b""

    def more() -> bytes:
        nonlocal again
        if again:
            return again
        sealed = b"".join(_sealed(line, source, finished=finished))
        again = sealed if line.reusable else b""
        return sealed

    while True:
        source = messages(harm)
        try:
            connected = harm.opened(line.meet(introduced=introduced))
        except OSError:
            time.sleep(0.001)
            continue
        with connected, suppress(OSError):
            _pump(connected, more, reads)


def _sealed(line: Line, source: Iterator[list[bytes]], *, finished: bool) -> Iterator[bytes]:
    size = 0
    for frames in itertools.islice(source, MANY if line.reusable else FEW):
        yield line.seal(frames, finished=finished)
        size += sum(map(len, frames))
        if size > CHUNK:
            return


def _pump(connected: socket.socket, more: Callable[[], bytes], reads: Reads) -> None:
    """Until the connection is ended."""
    waiting = memoryview(b"")
    read = [connected] if reads == "all" else []
    while True:
        can_read, can_write, _ = select.select(read, [connected], [], SLOW_S)
        if reads == "slowly":
            with suppress(BlockingIOError):
                _read(connected, SLOW_BYTES)
            time.sleep(SLOW_S)
        elif can_read:
            _read(connected, CHUNK * 4)
        if can_write:
            waiting = waiting or memoryview(more())
            waiting = waiting[connected.send(waiting) :]


def _read(connected: socket.socket, size: int) -> None:
    if not connected.recv(size):
        raise ConnectionResetError


def connections(harm: Harm) -> None:
    """Come and go."""
    part = harm.line.part()
    while True:
        try:
            with harm.opened(harm.line.connect()) as connected:
                connected.send(part)
        except OSError:
            time.sleep(0.001)


def half_open(harm: Harm) -> None:
    """Hold as many connections as can be had that never say who they are."""
    part = harm.line.part()
    held: list[socket.socket] = []
    while True:
        while len(held) < HALF_OPEN:
            with suppress(OSError):
                held.append(harm.opened(harm.line.connect()))
                held[-1].send(part)
        for connected in select.select(held, [], [], 0.05)[0]:
            with suppress(OSError):
                if connected.recv(CHUNK):  # a greeting, to which nothing is answered
                    continue
            held.remove(connected)
            connected.close()


def strangers(harm: Harm) -> None:
    """Knock, with a whole handshake, with keys that are not known."""
    assert isinstance(harm.line, CurveLine)
    while True:
        harm.line.as_stranger()
        with suppress(OSError):
            harm.begin()
            harm.line.meet(introduced=False).close()


def wrong(harm: Harm) -> None:
    """Claim what is not so: keys that have no grant, agents and sessions that are not there."""
    if harm.target.door == "curve":
        strangers(harm)
    flood(harm, _tokens, introduced=False)


KINDS: dict[str, tuple[str, Callable[[Harm], None]]] = {
    "connections": ("connections that come and go", connections),
    "half_open": (f"{HALF_OPEN} handshakes left half-open", half_open),
    "garbage": ("garbage for headers", lambda harm: flood(harm, _garbage)),
    "dear": ("headers of the longest kind, wrong at their end", lambda harm: flood(harm, _dear)),
    "big": ("messages of 8 MiB", lambda harm: flood(harm, _big)),
    "pings": ("pings without end", lambda harm: flood(harm, _pings)),
    "calls": ("calls without end", lambda harm: flood(harm, _calls)),
    "unread": ("questions, no answer read", lambda harm: flood(harm, _asks, reads="nothing")),
    "slow": ("calls, the answers read slowly", lambda harm: flood(harm, _calls, reads="slowly")),
    "unfinished": (
        "messages that are never finished",
        lambda harm: flood(harm, _parts, finished=False),
    ),
    "wrong": ("wrong tokens", wrong),
}
"""By name: in words, and in deed."""

TURN_S = 0.004


def burn(share: float) -> None:
    """Use that share of a core, and harm nobody."""
    while True:
        began = time.perf_counter()
        while time.perf_counter() - began < share * TURN_S:
            pass
        time.sleep(max(0.0, TURN_S - (time.perf_counter() - began)))
