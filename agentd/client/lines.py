"""Calls of an agent that has to be found first leave in the order in which they were made.

Several threads may learn at once where an agent is, and each could send a call right then. So who
does not know the agent's place, or comes while others wait for it, joins the agent's line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Lines"]

Step = Callable[[Any], None]


class _Line:
    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self.runner: int | None = None
        """The thread that is sending what waited."""


class Lines:
    """One line per agent, there only while somebody stands in it. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the lines
        self._lines: dict[bytes, _Line] = {}

    def __contains__(self, agent: bytes) -> bool:
        """Whether somebody waits for that agent to be found."""
        return agent in self._lines

    def join(self, agent: bytes, step: Step, *, known: bool) -> bool | None:
        """Have ``step`` called in its turn, with what ``move`` is given.

        ``None``: nobody waits and the place is ``known``, go at once. True: the first one, who has
        to find the place and then call ``move``.
        """
        with self._lock:
            line = self._lines.get(agent)
            if line is None:
                if known:
                    return None
                line = self._lines[agent] = _Line()
                line.steps.append(step)
                return True
            line.steps.append(step)
            return False

    def move(self, agent: bytes, found: Any) -> None:
        """The place is found, or why it will not be: all go, and who comes meanwhile."""
        with self._lock:
            line = self._lines[agent]
            line.runner = threading.get_ident()
        while True:
            with self._lock:
                if not line.steps:
                    del self._lines[agent]
                    return
                step = line.steps.popleft()
            step(found)

    def wait(self, agent: bytes, seconds: float | None) -> bool:
        """Wait until those are gone who stand there now; False if that took too long."""
        line = self._lines.get(agent)
        if line is None or line.runner == threading.get_ident():
            return True
        gone = threading.Event()
        if self.join(agent, lambda _found: gone.set(), known=True) is None:
            return True
        return gone.wait(seconds)
