"""The sockets that clients come to: each message arrives with who sent it, as proven.

``who`` is never what a client says of itself: over ipc it is what the kernel tells of the process
at the other end (``uid:1000``), over TCP what the authenticator made of the key that the peer has
proven to have (``key:…``). They are bounded where libzmq can be, and watched where it cannot (see
``connections``).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import zmq

from agentd.transport.debts import REST_S, Debts
from agentd.transport.origin import NOBODY, Noting, Origin, peer_of_key
from agentd.transport.pieces import join
from agentd.transport.portions import Portions
from agentd.transport.shares import Attention, Shares
from agentd.transport.sockets import Port, contents, notice, router, take_parts
from agentd.transport.unread import sealed_size

__all__ = ["RECEIVE_HWM", "FrontPort", "front_socket"]

RECEIVE_HWM: Final = 64
"""Messages of one client that wait here to be read; the others wait on its side."""

WAITING: Final = 64
"""Connections within the host that wait to be accepted; more are told so, and try again. They are
accepted in the order of their coming, and slowly where too many come to nothing: with 4,096 no
client had the patience."""

TURN: Final = 64
"""Messages taken in a turn: many clients together hold up each other no longer than that."""
MOST_HELD: Final = 64
"""Messages of those who wait for the others; more are served at once, however short a rest was."""
MOST_HELD_BYTES: Final = 32 * 1024 * 1024
"""The same, so that long ones are not kept."""


def front_socket(context: zmq.Context[Any], *, max_frame: int, handshake_s: float) -> Any:
    """A ROUTER for clients; one that sends a longer frame is disconnected by libzmq."""
    socket = router(context)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame)
    socket.setsockopt(zmq.HANDSHAKE_IVL, max(1, int(handshake_s * 1000)))
    socket.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    socket.setsockopt(zmq.BACKLOG, WAITING)
    return socket


class FrontPort(Port):
    """A ROUTER for clients. Of each message the first part is its ``Origin``."""

    def __init__(
        self, socket: Any, kind: Literal["ipc", "tcp"], portions: Portions | None = None
    ) -> None:
        """``portions``: how much of the loop's time each peer may have; as much as it wants."""
        super().__init__(socket)
        self.kind = kind
        self._stirred = False
        """Whether somebody said something since it was last looked, while others rest."""
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._who = _user if kind == "ipc" else _holder
        self.in_pieces = kind == "tcp"
        self._size = _plain_size if kind == "ipc" else sealed_size
        self._debts = Debts(time.monotonic)
        self._unexcused = Debts(time.monotonic)
        self._attention = Attention(time.monotonic)
        self._served: set[bytes] = set()
        """Whose messages were taken last."""
        self._held: list[list[Any]] = []
        """What was taken of those to see whose it is."""
        self._rest_until = 0.0
        """Nothing is served before of those who owe."""
        self._portions = portions
        self._names: dict[bytes, str] = {}
        """Who is behind a route, as portions are counted."""
        self._slow: set[bytes] = set()
        """Those of whom it is known that they wait for the others."""
        self._found_all = False
        """Whether nobody else had anything to say when it was last looked."""
        self.on_message: Noting = lambda origin, _frames, _size: origin
        """Called of each message with its origin, its frames and their bytes (over TCP as they were
        sealed), before it is delivered: the origin, with the mark of its connection."""
        self.on_debt: Callable[[bytes, int], None] = lambda _route, _size: None
        """Called when a peer is charged, for so many bytes, that is in debt for what nobody
        excuses."""
        self.drained = True
        """Whether libzmq had nothing left here when it was last asked."""
        self.on_left: Callable[[], None] = lambda: None
        """Called when something was left there."""

    def receive_locked(self, most: int) -> tuple[list[list[Any]], bool]:
        """See ``Port``."""
        if self.closed:
            return [], False
        if self._portions is not None:
            self._portions.settle()
        self._stirred = False
        notice(self.socket)  # else ``fd`` would tell again and again of the same
        self._slow = {route for route in self._slow if self._is_slow(route)}
        if self._slow or self._held:
            messages, more = self._beside_those_who_wait()
        else:
            messages, more = self._a_share_of_each(most)
            self._found_all = False
        self._served = {message[0].route for message in messages}
        if self._portions is not None:
            for message in messages:
                self._portions.count(message[0].peer)
        self._slow |= set(filter(self._is_slow, self._served))
        if not self.drained:
            self.on_left()
        return messages, more

    def send_locked(self, frames: Sequence[Any]) -> bool:
        """See ``Port``."""
        if self._portions is not None:
            name = self._names.get(bytes(frames[0]))
            if name is not None:
                self._portions.count(name)
        if not self._slow:
            return super().send_locked(frames)
        if self.drained:  # whatever is there now has come since
            self._stirred = super().send_locked(frames)
            return self._stirred
        # There is always something from those who wait: has anybody said something since? What is
        # said while this is sent may be met no sooner than after their rest.
        self._stirred = self._stirred or bool(self._poll.poll(0))
        self.give_locked(frames)
        return self._stirred

    def _a_share_of_each(self, most: int) -> tuple[list[list[Any]], bool]:
        messages: list[list[Any]] = []
        shares = Shares(self._attention)
        self.drained = False
        try:
            while len(messages) < min(most, TURN):
                parts = take_parts(self.socket)
                messages.append(self._message(parts))
                # libzmq takes from its clients in turns: who was not met so far has nothing here.
                if self._takes_last(shares, messages[-1]):
                    break
        except zmq.Again:
            self.drained = True
            return messages, False
        return messages, True

    def _beside_those_who_wait(self) -> tuple[list[list[Any]], bool]:
        """All of the others; and a share of those who wait, unless they rest.

        And whatever of theirs is too much to be held. The others' messages are among theirs. libzmq
        takes from each in turn: so there is nobody else if, in a row, there came one more than
        there are who wait; and one that a ROUTER may have read ahead, before there was anybody.
        """
        held = self._held
        waits = self._slow | {message[0].route for message in held}
        self.drained = self._found_all = False
        theirs, enough = 0, len(waits) + 2
        try:
            for _ in range(TURN + enough):
                held.append(self._message(take_parts(self.socket)))
                theirs += 1
                if held[-1][0].route not in waits:
                    theirs, enough = 0, len(waits) + 1
                elif theirs == enough:
                    self._found_all = True
                    break
        except zmq.Again:
            self.drained = self._found_all = True
        # Told once for each: as time passes a rest ends, and its messages must stay in order.
        now = time.monotonic()
        resting = {route for route in waits if self._rests_until(route) > now}
        others: list[list[Any]] = []
        waited: list[list[Any]] = []
        left: list[list[Any]] = []
        shares, full = Shares(self._attention), False
        for message in held:
            route = message[0].route
            if route not in waits:
                others.append(message)
            elif full or route in resting:
                left.append(message)
            else:
                waited.append(message)
                full = self._takes_last(shares, message)
        too_many = _excess(left)
        self._held = left[too_many:]
        more = bool(self._held) or not self.drained
        return others + waited + left[:too_many], more

    def _takes_last(self, shares: Shares, message: list[Any]) -> bool:
        """Count a message; whether it is the last of its peer's share."""
        header = len(message[1]) if len(message) > 1 else 0
        route = message[0].route
        return shares.take(route, header, in_debt=self._debts.owes(route))

    # -- who waits ---------------------------------------------------------------------------------
    def _is_slow(self, route: bytes) -> bool:
        """Whether the others come first: it is in debt, or has had more than its portion."""
        return self._debts.owes(route) or self._ahead_until(route) > 0.0

    def _ahead_until(self, route: bytes) -> float:
        if self._portions is None:
            return 0.0
        return self._portions.until(self._names.get(route, ""))

    def _rests_until(self, route: bytes) -> float:
        """Nothing of it is served before."""
        debt = self._rest_until if self._debts.owes(route) else 0.0
        return max(debt, self._ahead_until(route))

    def rest_s(self) -> float:
        """See ``Port``: a while, if nobody has anything to say but those who wait."""
        now = time.monotonic()
        if now >= self._rest_until and any(map(self._debts.owes, self._served)):
            self._rest_until = now + REST_S
        slow = set(filter(self._is_slow, self._served))
        known = slow <= self._slow  # else nobody looked who spoke while they were answered
        self._slow |= slow
        if self._stirred or not self._found_all or not known:
            return 0.0
        left = {message[0].route for message in self._held} or self._slow
        return max(0.0, min(map(self._rests_until, left), default=0.0) - now)

    def charge(self, route: bytes, size: int, *, excused: bool = False) -> None:
        """A message of that peer made work that helps nobody.

        ``excused``: an honest program does so, too; nobody is held up for that.
        """
        self._debts.charge(route, size)
        if not excused:
            if self._portions is not None:
                self._portions.ignore(self._names.get(route, ""))
            self._unexcused.charge(route, size)
            if self._unexcused.owes(route):
                self.on_debt(route, size)

    def owes(self, route: bytes) -> bool:
        """Whether that peer is served slowly now."""
        return self._debts.owes(route)

    def forget(self, route: bytes) -> None:
        """That peer has gone."""
        self._debts.forget(route)
        self._unexcused.forget(route)
        self._names.pop(route, None)

    def _message(self, parts: list[Any]) -> list[Any]:
        last = parts[-1]  # metadata of all parts is that of the connection; it is kept longest
        route, *frames = contents(parts)
        who, peer = self._who(last)
        origin = Origin(bytes(route), who, _descriptor(last), peer)
        origin = self.on_message(origin, len(frames), self._size(frames))
        if self._portions is not None:
            if origin.mark:
                self._names[origin.route] = peer
            else:  # it has gone: nobody would forget its name, and nobody is to rest for its sake
                self._portions.ignore(peer)
        return [origin, *(join(frames) if self.in_pieces else frames)]


def _excess(held: list[list[Any]]) -> int:
    """How many of these, from the first on, are more than may be held."""
    size = 0
    for count, message in enumerate(reversed(held)):
        size += _plain_size(message[1:])
        if count >= MOST_HELD or size > MOST_HELD_BYTES:
            return len(held) - count
    return 0


def _plain_size(frames: list[Any]) -> int:
    return sum(map(len, frames))


def _user(frame: Any) -> tuple[str, str]:
    """``Peer-Address`` of an ipc peer is ``localhost:UID:GID:PID``, told by the kernel.

    No peer can set it (measured, 4.3.5). The process id is never used to allow anything: it may be
    reused.
    """
    try:
        address = frame.get("Peer-Address")
    except zmq.ZMQError:
        return NOBODY, ""
    parts = address.split(":")
    return (f"uid:{parts[1]}" if len(parts) == 4 and parts[1].isdecimal() else NOBODY), address


def _holder(frame: Any) -> tuple[str, str]:
    """``User-Id`` is what the authenticator said, without which nobody gets in here."""
    try:
        who = str(frame.get("User-Id"))
        peer = peer_of_key(who, frame.get("Peer-Address"))
    except zmq.ZMQError:
        return NOBODY, ""
    return (who, peer) if who.startswith("key:") else (NOBODY, "")


def _descriptor(frame: Any) -> int:
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1
