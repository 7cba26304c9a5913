"""Puts a worker on the network, if its daemon says so: a door, who keeps it, and who receives."""

from __future__ import annotations

from agentd.errors import AgentdError
from agentd.keys.book import GrantBook
from agentd.protocol.checks import Checks
from agentd.protocol.messages import Enlist
from agentd.transport.door import Door
from agentd.transport.loop import Loop
from agentd.worker.host import Host
from agentd.worker.settings import DoorSettings, Settings
from agentd.worker.visitors import Visitors

__all__ = ["open_door"]


def open_door(
    loop: Loop, host: Host, settings: Settings, told: DoorSettings, enlist: Enlist
) -> tuple[Visitors | None, Enlist]:
    """Those who come by it, if it can be opened, and what the daemon is told of it.

    Nobody may until the daemon tells who.
    """
    book = GrantBook(None)
    try:
        door = Door(
            loop,
            told.hosts,
            told.ports,
            book.who_has,
            handshake_s=told.handshake_s,
            max_connections=told.max_connections,
        )
    except (AgentdError, OSError) as error:
        return None, enlist.changed(closed=str(error))
    door.on_shut = lambda why: host.tell(enlist.changed(closed=str(why)))
    checks = Checks(host.subject, settings.daemon, book.grant_of, safe=settings.safe)
    visitors = Visitors(loop, door, settings, told, book, checks, host)
    host.on_admit = visitors.admit
    return visitors, enlist.changed(port=door.port, key=door.key)
