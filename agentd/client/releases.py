"""Outcomes that nobody will fetch any more: told in batches, until it is known that it arrived.

A worker keeps them for ten minutes, should it never be told. So what was under way over a
connection that broke is told again over the next one, and what cannot be told waits, for so long
at most.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from agentd.client.link import Link
from agentd.protocol.messages import Release

__all__ = ["Releases"]

TOGETHER: Final = 64
"""Told at once, at most."""
KEPT_S: Final = 600.0
"""So long a worker keeps what nobody releases."""
MOST: Final = 4096
"""Batches that are not known to have arrived; of more the oldest are not told again."""


class _Batch(NamedTuple):
    agent: bytes
    keys: list[bytes]
    until: float
    """Then its worker has forgotten them by itself."""
    link: Link | None = None
    """Over which it was told, if it was."""
    mark: int = 0
    """To ask that link whether it arrived."""


class Releases:
    """Those of one client at one daemon. From any thread."""

    def __init__(
        self, way: Callable[[bytes], Link | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``way``: a connection over which an agent can be told something, if there is one now."""
        self._way = way
        self._clock = clock
        self._lock = threading.Lock()  # protects the two below
        self._new: dict[bytes, list[bytes]] = {}
        self._unsure: deque[_Batch] = deque(maxlen=MOST)

    def add(self, agent: bytes, key: bytes) -> None:
        """Nobody will fetch that outcome; told with the next heartbeat, or when there are many.

        The call has been sent: a worker forgets what it is told of calls that have not come.
        """
        with self._lock:
            keys = self._new.setdefault(agent, [])
            keys.append(key)
            if len(keys) < TOGETHER:
                return
            del self._new[agent]
        self._tell(_Batch(agent, keys, self._clock() + KEPT_S))

    def tell(self) -> None:
        """Tell what is new, and what may not have arrived. Does not wait."""
        now = self._clock()
        with self._lock:
            new, self._new = self._new, {}
            unsure = [each for each in self._unsure if each.until > now]
            self._unsure.clear()
        for batch in unsure:
            link = batch.link
            if link is None or (link.down is not None and not link.has_shown(batch.mark)):
                self._tell(batch)
            elif link.down is None and not link.has_shown(batch.mark):
                self._keep(batch)
        for agent, keys in new.items():
            self._tell(_Batch(agent, keys, now + KEPT_S))

    def _tell(self, batch: _Batch) -> None:
        link = self._way(batch.agent)
        mark = None if link is None else link.tell(Release(batch.agent, batch.keys))
        if mark is None:
            self._keep(batch._replace(link=None))
        else:
            self._keep(batch._replace(link=link, mark=mark))

    def _keep(self, batch: _Batch) -> None:
        with self._lock:
            self._unsure.append(batch)
