"""State in step: versions of attributes, and those who watch them.

A version is a number that grows each time a look finds another value than the last one did. Looks
happen in the agent's turn, so that no half-done change is seen: after each turn for what is
watched, and whenever somebody reads or sets with a version.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from agentd import serialization
from agentd.client import references
from agentd.client.redaction import redactions
from agentd.client.watching import Seen
from agentd.errors import AgentdError, CallCancelled
from agentd.protocol import error_message
from agentd.protocol.messages import Chunk, Error, Message
from agentd.worker.source import Source

__all__ = ["Seen", "Watcher", "Watchers"]


class Watcher:
    """One who watches an attribute: gets the newest value whenever he takes one."""

    __slots__ = ("credit", "name", "number", "over", "plain", "seen", "sent", "source")

    def __init__(
        self,
        source: Source,
        number: int,
        name: str,
        credit: int,
        over: Callable[[Message, list[Any]], None],
        *,
        plain: bool = False,
    ) -> None:
        self.plain = plain
        """He reads plain data only."""
        self.source = source
        self.number = number
        self.name = name
        self.credit = credit
        self.over = over
        """Called with the last answer, should it end by itself."""
        self.sent = 0
        """How many values he got."""
        self.seen = 0
        """The version of the last one."""


class Watchers:
    """The versions of one agent's attributes and those who watch them."""

    __slots__ = ("_closed", "_lock", "_look", "_versions", "_watchers")

    def __init__(self, look: Callable[[str], Seen]) -> None:
        self._look = look
        self._lock = threading.Lock()  # protects all below
        self._versions: dict[str, tuple[int, bytes]] = {}
        self._watchers: list[Watcher] = []
        self._closed: AgentdError | None = None

    def version(self, name: str, value: Any) -> int:
        """The version of that value. In the agent's turn."""
        encoded = serialization.encode(value, refs=references.active(), root=f"self.{name}")
        import hashlib

        digest = hashlib.blake2b(encoded.head, digest_size=16)
        for part in encoded.buffers:
            digest.update(part)
        mark = digest.digest()
        with self._lock:
            number, last = self._versions.get(name, (0, b""))
            if mark != last:
                number += 1
                self._versions[name] = (number, mark)
            return number

    def add(self, watcher: Watcher) -> None:
        """Send the value now and after each turn that changed it. In the agent's turn."""
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._watchers.append(watcher)
        try:
            seen = self._look(watcher.name)
        except BaseException:
            self.remove(watcher)
            raise
        self._tell(watcher, seen)

    def remove(self, watcher: Watcher) -> None:
        """He watches no more."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def turn_ended(self) -> None:
        """Look at what is watched. In the agent's turn, at its end."""
        if not self._watchers:
            return
        with self._lock:
            watchers = list(self._watchers)
        seen: dict[str, Seen | Exception] = {}
        for watcher in watchers:
            name = watcher.name
            if name not in seen:
                try:
                    seen[name] = self._look(name)
                except Exception as error:  # noqa: BLE001 - deleted, say: he is told
                    seen[name] = error
            found = seen[name]
            if isinstance(found, Exception):
                self.remove(watcher)
                watcher.over(*_failure(watcher.number, found, data_only=watcher.plain))
            else:
                self._tell(watcher, found)

    def _tell(self, watcher: Watcher, seen: Seen) -> None:
        with self._lock:
            if watcher.credit <= 0 or watcher.seen == seen.version:
                return  # the next value he takes will be the newest
            watcher.credit -= 1
            watcher.seen = seen.version
            number, watcher.sent = watcher.sent, watcher.sent + 1
        try:
            encoded = serialization.encode(
                tuple(seen), refs=references.active(), data_only=watcher.plain
            )
        except AgentdError as error:  # its watcher cannot read such a value
            self.remove(watcher)
            watcher.over(error_message(watcher.number, error), [])
            return
        chunk = Chunk(watcher.number, number, 1, encoded.codec)
        if not watcher.source.answer(chunk, [encoded.head, *encoded.buffers]):
            self.lost(watcher)

    def grant(self, who: Any, number: int, more: int) -> bool:
        """A watcher takes more; False if it is nobody here."""
        with self._lock:
            for watcher in self._watchers:
                if watcher.number == number and watcher.source.who == who:
                    watcher.credit += max(0, more)
                    return True
        return False

    def detach(self, who: Any, number: int) -> bool:
        """A watcher is gone; False if it is nobody here."""
        with self._lock:
            found = [w for w in self._watchers if w.number == number and w.source.who == who]
        for watcher in found:
            self.lost(watcher)
        return bool(found)

    def lost(self, watcher: Watcher) -> None:
        """Nobody is there to look any more."""
        self.remove(watcher)
        watcher.over(error_message(watcher.number, CallCancelled("its watcher is gone")), [])

    def close(self, error: AgentdError) -> None:
        """The agent ended."""
        with self._lock:
            self._closed = error
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.over(error_message(watcher.number, error), [])


def _failure(number: int, error: Exception, *, data_only: bool) -> tuple[Error, list[Any]]:
    facts, encoded = serialization.encode_error(
        error, redaction=redactions or None, data_only=data_only
    )
    payload = [] if encoded is None else [encoded.head, *encoded.buffers]
    codec = "" if encoded is None else encoded.codec
    return Error(number, "raised", facts["message"], facts, codec), payload
