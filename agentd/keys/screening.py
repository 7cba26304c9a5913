"""What is asked of each message before anything of it is looked at, at every door to a network.

Who it is of has a grant, is not shut out for nonsense, and sent what is a message. Of a peer that
is turned away not a byte is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from agentd.errors import ProtocolError
from agentd.protocol import HeaderLimits, error_message, unpack
from agentd.protocol.checks import GrantOf, is_for_asker_alone
from agentd.protocol.messages import Message
from agentd.transport.counted import Counted
from agentd.transport.faults import Faults
from agentd.transport.origin import Address, Origin, disconnect
from agentd.transport.shares import cost

__all__ = ["Screening"]

log = logging.getLogger("agentd.keys")

ABANDONED_S: Final = 1.0
"""Who has gone for so long waits for no answer. What it still wants it asks again, elsewhere."""
_HEADER: Final = 1
"""Which part of what arrived it is, behind the ``Origin``."""


class Screening:
    """In the loop's thread."""

    def __init__(
        self,
        grant_of: GrantOf,
        limits: HeaderLimits,
        most: int,
        clock: Callable[[], float],
        *,
        turn_away: Callable[[Address, Origin], None],
        charge: Callable[[Address, list[Any]], None],
        answer: Callable[[Address, Message], object],
    ) -> None:
        """``most``: malformed messages that are forgiven; 0: all.

        ``turn_away`` is told of who has no grant, ``charge`` of what made work that helps nobody.
        """
        self._grant_of = grant_of
        self._limits = limits
        self._most = most
        self._faults = Faults(most, clock)
        self._turn_away = turn_away
        self._charge = charge
        self._answer = answer
        self.malformed = 0
        """Messages that were none, or over a limit of headers."""
        self.disconnected = 0
        """Peers that sent too many of those."""
        self.abandoned = 0
        """Questions whose asker had gone long before they were read."""

    def counted(self) -> Counted:
        """What was no message, who was cut off for it, and what nobody waited for any more."""
        return Counted(
            malformed=self.malformed,
            disconnected_malformed=self.disconnected,
            abandoned=self.abandoned,
        )

    def shut_out(self, peer: str) -> float:
        """Read nothing of that peer for a while; for how many seconds."""
        return self._faults.shut_out(peer)

    def left(self, peer: str) -> float:
        """For how many seconds more nothing of that peer is read; from any thread."""
        return self._faults.left(peer)

    def read(self, address: Address, frames: list[Any]) -> Message | None:
        """The message, or ``None``: there is none to be heard."""
        origin: Origin = frames[0]
        if self._grant_of(origin.who) is None or not origin.is_ours:
            self._turn_away(address, origin)
            return None
        if self._faults.is_shut_out(origin.peer):
            self._charge(address, frames)
            disconnect(origin.fd, origin.mark)
            return None
        try:
            message = unpack(frames[_HEADER:], self._limits)
        except ProtocolError as error:
            self._charge(address, frames)
            self._answer(address, error_message(0, error))
            self._count(origin, len(frames[_HEADER]) if len(frames) > _HEADER else 0)
            return None
        if origin.gone_s > ABANDONED_S and is_for_asker_alone(message):
            self.abandoned += 1
            return None
        return message

    def _count(self, origin: Origin, header_bytes: int) -> None:
        """Who sends much of what is no message is not listened to for a while."""
        self.malformed += 1
        seconds = self._faults.add(origin.peer, cost(header_bytes))
        if seconds:
            self.disconnected += 1
            log.warning(
                "%s (%s) was disconnected: what it sent was no message, %d times "
                "or by long headers (max_malformed); nothing of it is read for %g s",
                origin.who,
                origin.peer,
                self._most,
                seconds,
                extra={"action": "disconnected_malformed", "peer": origin.peer},
            )
            disconnect(origin.fd, origin.mark)
