"""What is kept for later is let go when nobody needed it for some seconds: one thread sees to it.

There is such a thread only while something is kept. It is made anew in a forked child, which keeps
nothing of its parent's.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Final, Protocol

__all__ = ["IDLE_S", "Keeper", "tend"]

IDLE_S: Final = 5.0
"""Nobody needed it for so long: it goes."""
LOOK_S: Final = 1.0


class Keeper(Protocol):
    """Who keeps something."""

    def let_go(self, before: float) -> bool:
        """Drop what was last needed before that time; whether anything is left."""

    def forget(self) -> None:
        """In a forked child: what is kept belongs to the parent."""


class _State:
    def __init__(self) -> None:
        self.lock = threading.Lock()  # protects the next two
        self.keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
        self.runs = False


_state = _State()


def tend(keeper: Keeper) -> None:
    """``keeper`` keeps something (again)."""
    with _state.lock:
        _state.keepers.add(keeper)
        start = not _state.runs
        _state.runs = True
    if start:
        threading.Thread(target=_run, args=(_state,), name="agentd-idle", daemon=True).start()


def _run(state: _State) -> None:
    while True:
        time.sleep(LOOK_S)
        with state.lock:
            keepers = list(state.keepers)
        before = time.monotonic() - IDLE_S
        done = [keeper for keeper in keepers if not keeper.let_go(before)]
        del keepers
        with state.lock:
            for keeper in done:
                state.keepers.discard(keeper)
            if not state.keepers:
                state.runs = False
                return


def _after_fork() -> None:
    global _state
    before, _state = _state, _State()
    for keeper in list(before.keepers):
        keeper.forget()


os.register_at_fork(after_in_child=_after_fork)
