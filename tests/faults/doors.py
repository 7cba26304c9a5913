"""A daemon with a door to TCP, and what is needed to come in there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd import keys
from agentd.keys import Grant, Pair, Role
from tests.faults.harness import LONG_S, Daemon, wait_until

__all__ = ["Door"]


class Door:
    """Two config folders, the daemon's and a client's, and the daemon itself."""

    def __init__(self, folder: Path, build: Callable[..., Daemon]) -> None:
        """``build`` gives a daemon that is not started yet, for ``open``."""
        self.build = build
        self.server, self.client = str(folder / "server"), str(folder / "client")
        self.pair = keys.make_pair(self.server, "server", "server")
        self.me = keys.make_pair(self.client, "client", "me")
        self.who = keys.who_of(self.me.public)
        self.daemon: Daemon
        self.endpoint = ""

    def grant(self, pair: Pair | None = None, name: str = "me", **more: Any) -> None:
        """Let a client in, as one that may do everything."""
        pair = pair or self.me
        fields = {"roles": frozenset({Role.ADMIN}), "agents": ("*",), "methods": ("*",), **more}
        who = keys.who_of(pair.public)
        keys.write_grant(self.server, Grant(who, name, **fields), pair.public)

    def revoke(self, name: str = "me") -> None:
        keys.remove_grant(self.server, name)

    def open(self, start: Callable[..., Daemon], host: str = "127.0.0.1", **settings: Any) -> str:
        """Start the daemon and trust it; its endpoint.

        ``start`` gives a daemon that is not started yet: where it listens is added here. Leases are
        long, as whether a client of the network still runs is not to be seen: on a busy machine it
        may well be silent for a second.
        """
        settings = {"client_grace_s": 15.0, **settings}
        self.daemon = start(wait=False, config_dir=self.server, workers=1, **settings)
        self.daemon.settings["bind"] = (self.daemon.endpoint, f"tcp://{host}:0")
        self.daemon.start()
        found = wait_until(
            lambda: re.search(r"tcp://[^\s,]+", self.daemon.said()), "the daemon to listen", LONG_S
        )
        self.endpoint = found[0]
        self.trust()
        return self.endpoint

    def trust(self, key: bytes | None = None, *, code: bool = True) -> None:
        """Pin the daemon's key, or another one."""
        keys.write_pin(self.client, self.endpoint, key or self.pair.public, code=code)
