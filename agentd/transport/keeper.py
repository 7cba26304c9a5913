"""Who keeps a door to TCP: an authenticator, and looks whether it is kept.

At the start a door is seen to refuse a stranger before anybody can come, and then every minute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from agentd.errors import AgentdError, ConfigError, TransportError
from agentd.transport.curve import Keys, is_let_in, new_pair, self_test
from agentd.transport.doorkeeper import Doorkeeper
from agentd.transport.zap import Authenticator, Decide, Waits, ask

__all__ = ["Keeper"]

TEST_S: Final = 5.0
"""How long the door may take to answer its self-test on a busy machine."""
PROBE: Final = "key:probe"
"""The name of the self-test. No grant is about it."""


class Keeper:
    """Of all doors of one context."""

    def __init__(
        self,
        context: Any,
        decide: Decide,
        unkept: Callable[[AgentdError], None],
        handshake_s: float,
    ) -> None:
        """From now on it answers.

        ``unkept`` is called in some thread, with why the doors are not kept any more: the
        authenticator ended by itself, or a look found something. Perhaps more than once.
        """
        self._context = context
        self._decide = decide
        self._unkept = unkept
        self._probe: bytes | None = None
        self._doorkeeper: Doorkeeper | None = None
        self._authenticator = Authenticator(context, self._who_has, self._died, handshake_s)

    def _died(self) -> None:
        self._unkept(TransportError("the authenticator ended: nobody keeps the door to TCP"))

    def _who_has(self, key: bytes) -> str | None:
        """Asked by the authenticator, in its thread."""
        probe = self._probe
        return PROBE if probe is not None and key == probe else self._decide(key)

    def let_wait(self, waits: Waits) -> None:
        """From now on peers of which nothing is read wait for that outside."""
        self._authenticator.waits = waits

    @contextlib.contextmanager
    def _probing(self) -> Iterator[tuple[bytes, bytes]]:
        """A pair of keys that is let in meanwhile, and was never seen before."""
        pair = new_pair()
        self._probe = pair[0]
        try:
            yield pair
        finally:
            self._probe = None

    def watch(self, addresses: Sequence[str], server: bytes) -> None:
        """See that each door opens to a known key, and to no other; then look every minute.

        ``server``: the public key of the doors. Raises ``ConfigError`` if one does not.
        """
        with self._probing() as pair:
            for address in addresses:
                self_test(self._context, address, server, Keys(*pair, server), TEST_S)
        self._doorkeeper = Doorkeeper(
            lambda stopped: self._look(addresses, server, stopped), self._unkept
        )

    def _look(self, addresses: Sequence[str], server: bytes, stopped: Callable[[], bool]) -> bool:
        """In the thread of the doorkeeper: see ``Look``.

        The authenticator is asked here, past the doors: no connection may be to be had while there
        are as many as there may be.
        """
        stranger = new_pair()
        with self._probing() as known:
            for (key, _), expected in ((known, True), (stranger, False)):
                answer = ask(self._context, key, TEST_S, stopped)
                if answer is None:
                    return False
                if answer is not expected:
                    raise ConfigError("the authenticator does not tell a stranger from others")
        for address in addresses:
            if is_let_in(self._context, address, Keys(*stranger, server), TEST_S, stopped):
                raise ConfigError(f"{address} does not refuse strangers any more")
        return True

    def look_no_more(self) -> None:
        """Before the doors are closed."""
        if self._doorkeeper is not None:
            self._doorkeeper.stop()

    def stop(self) -> bool:
        """See ``Authenticator``."""
        self.look_no_more()
        return self._authenticator.stop()
