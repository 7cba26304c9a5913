"""One listening socket of libzmq, and whom it accepts: one, and the next when that one is known.

Left alone, libzmq's thread accepts whoever connects, and is ahead of who counts them by up to 2,000
(measured, 4.3.5: its monitor's queue of 1,000 events at each end; it waits when that is full). On
ipc it aborts the process where no descriptor is left for one more.
"""

from __future__ import annotations

from collections.abc import Callable

from agentd.transport.acceptance import Acceptance

__all__ = ["Listener"]


class Listener:
    """In the thread of those who count."""

    def __init__(self, fd: int, on_unseen: Callable[[], None]) -> None:
        """``fd``: by which it listens. ``on_unseen`` is called if it cannot be told what to do."""
        self.fd = fd
        self._on_unseen = on_unseen
        self._acceptance: Acceptance | None = None
        self._tries = 2  # it may listen before libzmq's thread waits for it, but not accept
        self._rests = False

    def admit(self) -> None:
        """Accept one more, unless it rests; where it cannot be told it accepts whoever comes."""
        found = self._found()
        if found is not None and not self._rests:
            found.admit()

    def rest(self) -> bool:
        """Accept nobody; whether it could be done."""
        found = self._found()
        self._rests = found is not None and found.pause()
        return self._rests

    def go_on(self) -> None:
        """Accept one, after a rest."""
        self._rests = False
        self.admit()

    def _found(self) -> Acceptance | None:
        if self._acceptance is None and self._tries > 0:
            self._tries -= 1
            self._acceptance = Acceptance.of(self.fd)
            if self._acceptance is None and not self._tries:
                self._on_unseen()
        return self._acceptance
