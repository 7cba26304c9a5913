"""Looks every minute whether the door to TCP is still kept, in a thread of its own.

At the start the door is seen to refuse a stranger before anybody can come. Nothing that is known
undoes that later. But the day on which something does, strangers run code here: so it is looked
again, and a door that is not kept ends the daemon.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from agentd.errors import AgentdError, ConfigError, TransportError

__all__ = ["EVERY_S", "TRIES", "Doorkeeper", "Look"]

log = logging.getLogger("agentd.transport")

EVERY_S: Final = 60.0
TRIES: Final = 2
"""Looks in a row that may learn nothing. One may: the machine was suspended, or this process."""

Look = Callable[[Callable[[], bool]], bool]
"""Looks at the door, until it is told to stop. False: nothing was learnt in time; raises
``ConfigError`` that says what is wrong with it."""


class Doorkeeper:
    """One thread. ``failed`` is called in it, once, with why the door is not kept; then it ends."""

    def __init__(
        self,
        look: Look,
        failed: Callable[[AgentdError], None],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """Begin. ``wait``: for so many seconds, True if it is time to end; for tests."""
        self._look = look
        self._failed = failed
        self._over = threading.Event()
        self._wait = wait or self._over.wait
        self._thread = threading.Thread(target=self._run, name="agentd-doorkeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, before the sockets of the door are closed; a look that goes on is broken off."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        in_vain = 0
        while not self._wait(EVERY_S):
            try:
                in_vain = 0 if self._look(self._over.is_set) else in_vain + 1
                if in_vain >= TRIES:
                    raise TransportError(
                        "the authenticator does not answer, and nobody can come in"
                    )
            except AgentdError as error:
                self._fail(error)
                return
            except Exception as error:  # a defect: it is not known any more whether it is kept
                log.exception("the door could not be looked at", extra={"action": "defect"})
                self._fail(ConfigError(f"the door could not be looked at ({type(error).__name__})"))
                return

    def _fail(self, error: AgentdError) -> None:
        if not self._over.is_set():
            self._failed(error)
