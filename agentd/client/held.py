"""A value that waits where it was made, and comes when somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from agentd.client.fetching import Outcome, fetch
from agentd.errors import AgentdError

__all__ = ["Held"]


class Held:
    """Called, once it is here, it gives the value or raises."""

    def __init__(self, wire: tuple[Any, ...], open_outcome: Callable[[Outcome], Any]) -> None:
        """``wire`` is the reference to the outcome (see ``agentd.client.fetching``)."""
        self._wire = wire
        self._open = open_outcome
        self._lock = threading.Lock()  # protects the rest
        self._asked = False
        self._waiting: list[Callable[[], None]] = []
        self._outcome: Outcome | AgentdError | None = None

    def bring(self, have: Callable[[], None]) -> None:
        """Fetch it, unless that was done; ``have`` is called once it is here, from any thread."""
        with self._lock:
            here = self._outcome is not None
            first, self._asked = not self._asked, True
            if not here:
                self._waiting.append(have)
        if here:
            have()
        elif first:
            fetch(self._wire, self._take)

    def wait(self) -> None:
        """Until it is here; as long as its worker lives and is connected."""
        here = threading.Event()
        self.bring(here.set)
        here.wait()

    def _take(self, outcome: Outcome | AgentdError) -> None:
        with self._lock:
            self._outcome = outcome
            waiting, self._waiting = self._waiting, []
        for have in waiting:
            have()

    def __call__(self) -> Any:
        """The value; raises the call's error, or why it cannot be had any more."""
        if isinstance(self._outcome, AgentdError):
            raise self._outcome
        assert self._outcome is not None, "it has not been brought"
        return self._open(self._outcome)
