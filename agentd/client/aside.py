"""Work that may wait for a peer: in a thread of its own, so that neither pump nor caller waits.

One thread a peer, there only while there is work: what is asked of one peer is done in order, and
a peer that does not answer holds up nobody but those who want something of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from agentd.client.defects import log

__all__ = ["Aside"]


class Aside:
    """From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the next
        self._steps: dict[str, deque[Callable[[], None]]] = {}

    def busy(self, peer: str) -> bool:
        """Whether something is done with that peer just now."""
        return peer in self._steps

    def do(self, peer: str, step: Callable[[], None]) -> None:
        """Call ``step`` soon, after those that were given for the same peer before."""
        with self._lock:
            steps = self._steps.get(peer)
            if steps is not None:
                steps.append(step)
                return
            self._steps[peer] = deque([step])
        thread = threading.Thread(
            target=self._run, args=(peer,), name="agentd-connect", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: then here
            self._run(peer)

    def _run(self, peer: str) -> None:
        while True:
            with self._lock:
                steps = self._steps[peer]
                if not steps:
                    del self._steps[peer]
                    return
                step = steps.popleft()
            try:
                step()
            except Exception:  # the next one has nothing to do with it
                log.exception("something asked of %s failed", peer)
