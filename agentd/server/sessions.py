"""Client processes and their leases: what a client made ends with it, but not with a hiccup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from agentd.protocol.messages import Hello
from agentd.transport.origin import Address
from agentd.transport.process import alive

__all__ = ["Connection", "Session", "Sessions"]

Connection = tuple[int, int]
"""A descriptor, and what tells its connection from a later one with the same descriptor."""


@dataclass(slots=True, eq=False)
class Session:
    """One client process, as one authenticated peer.

    The same process may come as another, too (over ipc and over TCP): that is a session of its own.
    """

    id: bytes
    """Made of what the client said and of who it is: nobody can be in somebody else's session."""
    who: str
    pid: int
    host: str
    started: str
    seen: float
    connections: dict[Address, Connection] = field(default_factory=dict)


class Sessions:
    """All sessions. A lease is renewed by any message; ``expired`` finds those that ran out."""

    def __init__(self, grace_s: float, here: str, clock: Callable[[], float]) -> None:
        self._grace = grace_s
        self._here = here
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}
        self._by_address: dict[Address, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self, address: Address, hello: Hello, who: str = "", connection: Connection = (-1, 0)
    ) -> Session:
        """A client introduced itself on a connection.

        What it says of its host and process is believed of this host's users only: the kernel
        knows them.
        """
        own = hashlib.blake2b(who.encode() + b"\0" + hello.session, digest_size=16).digest()
        session = self._sessions.get(own)
        if session is None:
            host = "" if who.startswith("key:") else hello.host
            session = Session(own, who, hello.pid, host, hello.started, self._clock())
            self._sessions[own] = session
        before = self._by_address.get(address)
        if before is not None and before is not session:
            before.connections.pop(address, None)
        session.seen = self._clock()
        session.connections[address] = connection
        self._by_address[address] = session
        return session

    def touch(self, address: Address, who: str = "") -> Session | None:
        """A message came; ``None`` if that connection was never introduced."""
        session = self._by_address.get(address)
        if session is None or session.who != who:
            return None
        session.seen = self._clock()
        return session

    def of(self, whos: Collection[str]) -> list[Session]:
        """The sessions of these peers."""
        return [session for session in self._sessions.values() if session.who in whos]

    def who_at(self, address: Address) -> str:
        """Who is answered at that address; empty if nobody is there any more."""
        session = self._by_address.get(address)
        return "" if session is None else session.who

    def connection(self, address: Address) -> Connection | None:
        """The connection that is answered at that address."""
        session = self._by_address.get(address)
        return None if session is None else session.connections.get(address)

    def is_here(self, session: Session) -> bool:
        """Whether the client runs on this host."""
        return session.host == self._here

    def close(self, session: Session) -> None:
        """It said good-bye, or its lease ran out."""
        self._sessions.pop(session.id, None)
        for address in session.connections:
            self._by_address.pop(address, None)

    def expired(self) -> list[Session]:
        """Those not heard of for longer than the grace period, and whose process is gone.

        A process of this host that merely stands still (stopped by a signal, swapped out) keeps
        its lease for as long as it exists.
        """
        late = self._clock() - self._grace
        gone = []
        for session in self._sessions.values():
            if session.seen < late:
                if session.host == self._here and alive(session.pid, session.started):
                    session.seen = self._clock()
                else:
                    gone.append(session)
        return gone
