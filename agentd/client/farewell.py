"""What an object says as it is collected: later, in a place where locks may be taken.

``__del__`` may run at any moment, also while this very thread holds the lock of a connection. So it
only leaves a note; the next call sends what is noted, or the pump within half a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agentd.client.context import undisturbed
from agentd.client.defects import log

__all__ = ["leave", "roused_by", "say_all"]

_notes: deque[Callable[[], None]] = deque()
_rouse: Callable[[], None] = lambda: None  # noqa: E731


def roused_by(rouse: Callable[[], None]) -> None:
    """``rouse`` has ``say_all`` called soon; it may be called at any moment, as ``__del__`` is."""
    global _rouse  # noqa: PLW0603 - of this process's runtime, of which there is one
    _rouse = rouse


def leave(note: Callable[[], None]) -> None:
    """Call ``note`` soon; from ``__del__``."""
    _notes.append(note)
    _rouse()


def say_all() -> None:
    """Call all that is noted."""
    if _notes:
        _say_all()


@undisturbed
def _say_all() -> None:
    # The call in whose code this runs may be cancelled now: a note would be lost half way, and the
    # cancellation be taken for its failure.
    while _notes:
        try:
            note = _notes.popleft()
        except IndexError:
            return  # another thread was faster
        try:
            note()
        except Exception:  # whoever comes along has nothing to do with it, nor have later notes
            log.exception("a farewell failed")
