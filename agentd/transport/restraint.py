"""What holds back clients of whom libzmq takes whatever comes.

Where connections come to nothing by the hundred not all are let in. Who sends far more over TCP
than is read, or owes, or finishes no message, is held up, and at worst disconnected; within the
host libzmq stops reading by itself, and who goes on to owe is disconnected. Bundled, as a daemon's
doors and a worker's need all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentd.transport.backlog import Backlog
from agentd.transport.brake import Brake
from agentd.transport.connections import Connections
from agentd.transport.counted import Counted
from agentd.transport.loop import Loop
from agentd.transport.newcomers import Newcomers
from agentd.transport.overlong import Overlong
from agentd.transport.patience import Patience

if TYPE_CHECKING:
    from agentd.transport.front import FrontPort

__all__ = ["Restraint"]


class Restraint:
    """In the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        connections: Connections,
        most: int,
        most_together: int,
        longest: int,
        shut_out: Callable[[str], float],
    ) -> None:
        """See ``Backlog``; ``longest``: bytes of the longest message that is taken."""
        self._brake = Brake(loop, connections)
        self._backlog = Backlog(loop, connections, most, most_together, shut_out, self._brake.hold)
        self._overlong = Overlong(loop, connections, longest, self._brake.hold)
        self._newcomers = Newcomers(loop, connections)
        self._patience = Patience(loop, connections, shut_out)

    def follow(self, number: int, front: FrontPort) -> None:
        """Hold back who comes by that socket, which is the ``number``-th."""
        self._newcomers.follow(number, front.kind)
        if front.kind == "tcp":
            self._backlog.follow(number, front)
            self._brake.follow(number, front)
            self._overlong.follow(number, front)
        else:
            self._patience.follow(number, front)

    def counted(self) -> Counted:
        """Who was disconnected, and how often others had to wait."""
        return Counted(
            disconnected_unfinished=self._overlong.disconnected,
            disconnected_backlog=self._backlog.disconnected + self._patience.disconnected,
            held_up=self._brake.held_up,
            thinned_out=self._newcomers.thinned_out,
        )
