"""Workers' doors to the network, as far as they are reached from here.

The daemon tells over its own connection, which is authenticated, where such a door is and which key
it has there. That key is the one that is believed, and only for that door. Where one does not open,
as a firewall is in between, say, the daemon relays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agentd.errors import DaemonNotFound
from agentd.protocol.messages import Ready

if TYPE_CHECKING:
    from agentd.client.daemon import Daemon
    from agentd.client.runtime import Runtime

__all__ = ["Doors"]

REFUSED_S: Final = 5.0
"""How long a door is left alone that did not open: its worker may have ended."""
SILENT_S: Final = 60.0
"""The same of all doors, where nobody so much as refused; it doubles from one time to the next."""
LONGEST_S: Final = 3600.0


class Doors:
    """Those of one daemon's workers. From any thread."""

    def __init__(
        self, runtime: Runtime, daemon: Daemon, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runtime = runtime
        self._daemon = daemon
        self._clock = clock
        self._lock = threading.Lock()  # protects all below
        self._shut: dict[str, float] = {}
        """By address of a worker: until when its door is left alone."""
        self._all_shut = 0.0
        self._silences = 0

    def may_open(self, place: Ready) -> bool:
        """Whether there is any use in trying; does not wait."""
        now = self._clock()
        shut = max(self._all_shut, self._shut.get(place.address, 0.0))
        return place.port > 0 and len(place.key) > 0 and now >= shut

    def dial(self, place: Ready, timeout: float) -> Any:
        """A connection that was made within the time; raises as ``tcp.dial_tcp``."""
        from agentd.client.tcp import dial_door

        link = self._daemon.link or self._daemon.connect()
        return dial_door(self._runtime.context, self._daemon.endpoint, link.reached, place, timeout)

    def opened(self) -> None:
        """One did: no firewall is in between."""
        with self._lock:
            self._silences = 0

    def avoid(self, address: str) -> None:
        """It did not open, or whoever is behind it fell silent."""
        now = self._clock()
        with self._lock:
            self._shut = {each: until for each, until in self._shut.items() if until > now}
            self._shut[address] = now + REFUSED_S

    def failed(self, place: Ready, why: Exception) -> None:
        """It did not open. Where nobody says so much as no, the others will not, either."""
        if isinstance(why, DaemonNotFound) and why.facts.get("silent"):
            with self._lock:
                self._all_shut = self._clock() + min(LONGEST_S, SILENT_S * 2.0**self._silences)
                self._silences = min(self._silences + 1, 10)
        else:
            self.avoid(place.address)
