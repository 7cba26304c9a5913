"""Reads the files of grants when they change, in a thread of its own.

A disk that is slow, or a thousand files that change at once, hold up nobody's calls then. What was
read is handed over whole, and put in force by the daemon's loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from agentd.errors import AgentdError, ConfigError
from agentd.keys import Reading

__all__ = ["EVERY_S", "GrantWatch"]

log = logging.getLogger("agentd.server")

EVERY_S: Final = 0.5
"""How often the files are looked at, where nobody tells that they have changed."""


class GrantWatch:
    """One thread, until ``stop``. All that it is given is called in it."""

    def __init__(
        self,
        look: Callable[[bool], Reading | None],
        took: Callable[[Reading | None, bool], None],
        failed: Callable[[AgentdError], None],
    ) -> None:
        """Begin.

        ``look``: reads the files, if they changed or it is told to in any case. ``took``: gets what
        that gave, each time, as grants expire without any file that changes; and whether it was
        asked for. ``failed``: called once, if a defect ends the thread: nobody can be revoked then.
        """
        self._look = look
        self._took = took
        self._failed = failed
        self._wake = threading.Event()
        self._asked = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="agentd-grants", daemon=True)
        self._thread.start()

    def now(self) -> None:
        """Read them all, whether they changed or not."""
        self._asked = True
        self._wake.set()

    def changed(self) -> None:
        """Somebody says that there is something new."""
        self._wake.set()

    def stop(self) -> None:
        """End it; does not wait for a disk that does not answer."""
        self._over = True
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(EVERY_S)
            self._wake.clear()
            if self._over:
                return
            asked, self._asked = self._asked, False
            try:
                found = self._look(asked)
            except Exception as error:
                log.exception("the grants could not be read", extra={"action": "defect"})
                self._failed(
                    ConfigError(
                        f"the grants could not be read ({type(error).__name__}); see the log"
                    )
                )
                return
            self._took(found, asked)
