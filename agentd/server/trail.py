"""What the audit log is told of clients: what is denied, and enough of what is allowed to trace it.

Administration is noted each time, before it is done, and waits for the disk (``audit``). Calls are
far too many for that, and pass the daemon by where they can. So it is noted that a client is given
access to an agent, once an hour for each two of them, without waiting. So is code that is offered:
the creation that follows has it on the disk together with its own line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentd.ids import show
from agentd.protocol.access import RULES, Grant, action_of
from agentd.protocol.checks import GrantOf, target_of
from agentd.protocol.messages import Ask, Create, Message, Noted
from agentd.server.audit import ADMINISTRATION, Note, silent

__all__ = ["AGAIN_S", "KNOWN", "Trail"]

AGAIN_S: Final = 3600.0
"""After so long an access counts as a new one. Not each session of a client: it opens as many as it
likes, and each line stays on the disk."""
KNOWN: Final = 100_000
"""Accesses that are remembered, about 20 MB; one more, and all are forgotten and noted anew."""


class Trail:
    """Notes what clients do. Methods that note administration raise ``AuditFailed``."""

    def __init__(self, note: Note, grant_of: GrantOf, clock: Callable[[], float]) -> None:
        self._note = note
        self._grant_of = grant_of
        self._clock = clock
        self._is_kept = note is not silent
        self._noted: dict[tuple[str, bytes], float] = {}
        """Who has access to which agent, and since when that is in the log."""

    # -- who comes and goes ------------------------------------------------------------------------
    def turned_away(self, who: str) -> None:
        """Somebody without a grant was told so."""
        self._note(who=who, action="connect", decision="denied", rule="no grant")

    def evicted(self, who: str) -> None:
        """A grant is gone, and so is who had it."""
        self._noted = {key: at for key, at in self._noted.items() if key[0] != who}
        self._note(who=who, action="evict", rule="grant gone")

    # -- what they do ------------------------------------------------------------------------------
    def denied(self, who: str, message: Message) -> None:
        """The gate has refused it."""
        self._note(
            who=who,
            action=action_of(message),
            target=target_of(message),
            decision="denied",
            rule=_roles(self._grant_of(who)),
        )

    def denied_by(self, worker: str, noted: Noted) -> None:
        """A worker says that it has refused something at its own door."""
        if noted.action not in RULES:
            return  # nothing that is asked there
        self._note(
            who=noted.who,
            action=noted.action,
            target=f"agent {show(noted.agent)} (at {worker})",
            decision="denied",
            rule=_roles(self._grant_of(noted.who)),
        )

    def creates(self, who: str, message: Create) -> None:
        """An agent is about to be made. Whoever makes one has access to it."""
        if not self._is_kept:
            return
        code = f" {message.mode} {message.codec}".rstrip()
        target = f"{show(message.agent)} {message.name or ''} {message.cls}{code}"
        self._allowed(who, "create", target)
        self._remember(who, message.agent)

    def asks(self, who: str, message: Ask) -> None:
        """Something is about to be asked; noted if it is administration."""
        if message.what in ADMINISTRATION:
            self._allowed(who, message.what, str(message.params.get("agent", "")))

    def offers(self, who: str, code: bytes) -> None:
        """A bundle of code is about to be taken, by its name."""
        self._allowed(who, "offer", code.hex())

    def reaches(self, who: str, agent: bytes, name: str | None, cls: str) -> None:
        """A client is about to be told where an agent is, or to have a call relayed to it."""
        if not self._is_kept:
            return
        noted = self._noted.get((who, agent))
        if noted is None or noted + AGAIN_S <= self._clock():
            self._allowed(who, "access", f"{show(agent)} {name or ''} {cls}")
            self._remember(who, agent)

    def _remember(self, who: str, agent: bytes) -> None:
        if not self._is_kept:
            return
        if len(self._noted) >= KNOWN:
            self._noted.clear()
        self._noted[who, agent] = self._clock()

    def _allowed(self, who: str, action: str, target: str) -> None:
        grant = self._grant_of(who)
        rule = "" if grant is None else f"grant {grant.name}"
        self._note(who=who, action=action, target=target, rule=rule)


def _roles(grant: Grant | None) -> str:
    return "no grant" if grant is None else ",".join(sorted(role.value for role in grant.roles))
