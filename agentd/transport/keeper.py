"""Who keeps a door to TCP: an authenticator, and a key by which it can be tried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from agentd.transport.curve import Keys, new_pair, self_test
from agentd.transport.zap import Authenticator, Decide

__all__ = ["TEST_S", "Keeper"]

TEST_S: Final = 5.0
"""How long the door may take to answer its self-test on a busy machine."""
PROBE: Final = "key:probe"
"""The name of the self-test. No grant is about it."""


class Keeper:
    """Of all doors of one context."""

    def __init__(self, context: Any, decide: Decide, died: Callable[[], None]) -> None:
        """From now on it answers. ``died``: as of ``Authenticator``, which it is."""
        self._context = context
        self._decide = decide
        self._probe: bytes | None = None
        self._authenticator = Authenticator(context, self._who_has, died)

    def _who_has(self, key: bytes) -> str | None:
        """Asked by the authenticator, in its thread."""
        probe = self._probe
        return PROBE if probe is not None and key == probe else self._decide(key)

    @contextlib.contextmanager
    def probe(self) -> Iterator[tuple[bytes, bytes]]:
        """A pair of keys that is let in meanwhile, and was never seen before."""
        pair = new_pair()
        self._probe = pair[0]
        try:
            yield pair
        finally:
            self._probe = None

    def test(self, addresses: Iterable[str], server: bytes) -> None:
        """``ConfigError`` unless each door opens to a known key, and to no other.

        ``server``: the public key of the doors.
        """
        with self.probe() as pair:
            for address in addresses:
                self_test(self._context, address, server, Keys(*pair, server), TEST_S)

    def stop(self) -> bool:
        """See ``Authenticator``."""
        return self._authenticator.stop()
