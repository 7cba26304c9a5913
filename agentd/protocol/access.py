"""Who may do what: roles, grants, and the table that decides. Pure values, no I/O.

*Who* is text that names an authenticated peer: ``uid:1000`` (told by the kernel) or
``key:<fingerprint>`` (proven by CURVE). A grant gives it roles, the agents and the methods that
these are about. What is not in the table is not allowed; docs/security.md shows it to people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from fnmatch import fnmatchcase
from typing import Final

from agentd.protocol.messages import Ask, Call, Create, Message

__all__ = [
    "NOT_FROM_CLIENTS",
    "RULES",
    "Extent",
    "Grant",
    "Role",
    "Subject",
    "action_of",
    "admin_grant",
    "allows",
    "allows_of_any",
    "lists",
    "may_code",
    "roles_for",
    "scoped_key",
]


class Role(Enum):
    """What a peer is for. A grant may have several; they add up."""

    OBSERVER = "observer"
    """Sees what there is and how it is."""
    CALLER = "caller"
    """Calls the methods listed of the agents listed, with plain data."""
    OPERATOR = "operator"
    """An observer who also reads logs, and deletes, kills, and stops."""
    SUBMITTER = "submitter"
    """A caller who also makes agents from what is registered, and deletes those again."""
    DEPLOYER = "deployer"
    """Sends pickles and modules: the same as a shell as the daemon's user."""
    ADMIN = "admin"
    """Everything."""

    __hash__ = object.__hash__  # there is one of each; that of ``Enum`` costs a call in Python


class Extent(Flag):
    """How far a rule goes; one that is met is enough."""

    NEVER = 0
    LISTED = auto()
    """Agents that the grant lists."""
    CALLED = auto()
    """Methods that the grant lists, of agents that it lists."""
    OWN = auto()
    """Agents that the same peer made."""
    WHOLE = auto()
    """Only with a grant that lists all agents: it concerns every one."""
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Grant:
    """What one peer may do. Nothing is listed unless it is said so."""

    who: str
    name: str
    roles: frozenset[Role]
    agents: tuple[str, ...] = ()
    """Patterns for names of agents (``calc-*``), or whole ids. One without a name is meant by its
    id or by ``*`` only."""
    methods: tuple[str, ...] = ()
    """Patterns for names of methods."""
    expires: float | None = None
    """Seconds since 1970; whoever hands out the grant looks at it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The agent that a message is about, as far as it is known."""

    id: str = ""
    """In hex."""
    name: str = ""
    maker: str = ""
    """Who made it."""


def admin_grant(who: str) -> Grant:
    """What the daemon's own user has."""
    return Grant(who, "own", frozenset({Role.ADMIN}), ("*",), ("*",))


# -- the table -------------------------------------------------------------------------------------
_ROLES: Final = (
    Role.OBSERVER,
    Role.CALLER,
    Role.OPERATOR,
    Role.SUBMITTER,
    Role.DEPLOYER,
    Role.ADMIN,
)
_NO, _LIST, _CALL, _OWN, _ALL, _ANY = (
    Extent.NEVER,
    Extent.LISTED,
    Extent.CALLED,
    Extent.OWN,
    Extent.WHOLE,
    Extent.ANY,
)

# fmt: off
_TABLE: Final[Mapping[str, tuple[Extent, ...]]] = {
    #                     observer caller operator submitter    deployer admin
    "hello":              (_ANY,  _ANY,  _ANY,  _ANY,           _ANY,  _ANY),
    "ping":               (_ANY,  _ANY,  _ANY,  _ANY,           _ANY,  _ANY),
    "pong":               (_ANY,  _ANY,  _ANY,  _ANY,           _ANY,  _ANY),
    "bye":                (_ANY,  _ANY,  _ANY,  _ANY,           _ANY,  _ANY),
    "vouch":              (_ANY,  _ANY,  _ANY,  _ANY,           _ANY,  _ANY),
    "locate":             (_LIST, _LIST, _LIST, _LIST | _OWN,   _ANY,  _ANY),
    "fate":               (_LIST, _LIST, _LIST, _LIST | _OWN,   _ANY,  _ANY),
    "create registered":  (_NO,   _NO,   _NO,   _ANY,           _ANY,  _ANY),
    "create spec":        (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "create live":        (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "offer":              (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "supply":             (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call method":        (_NO,   _CALL, _NO,   _CALL | _OWN,   _ANY,  _ANY),
    "call stream":        (_NO,   _CALL, _NO,   _CALL | _OWN,   _ANY,  _ANY),
    "call next":          (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "call close":         (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "call dir":           (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call get":           (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call look":          (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call watch":         (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call set":           (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call put":           (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call del":           (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "call copy":          (_NO,   _NO,   _NO,   _NO,            _ANY,  _ANY),
    "fetch":              (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "attach":             (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "read":               (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "cancel":             (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "keep":               (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "release":            (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "credit":             (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "detach":             (_NO,   _LIST, _NO,   _LIST | _OWN,   _ANY,  _ANY),
    "ask info":           (_ANY,  _NO,   _ANY,  _NO,            _ANY,  _ANY),
    "ask agents":         (_ANY,  _NO,   _ANY,  _NO,            _ANY,  _ANY),
    "ask agent":          (_LIST, _NO,   _LIST, _OWN,           _ANY,  _ANY),
    "ask logs":           (_NO,   _NO,   _LIST, _NO,            _ANY,  _ANY),
    "ask delete":         (_NO,   _NO,   _LIST, _OWN,           _OWN,  _ANY),
    "ask kill":           (_NO,   _NO,   _LIST, _OWN,           _OWN,  _ANY),
    "ask stop":           (_NO,   _NO,   _ALL,  _NO,            _NO,   _ANY),
}
# fmt: on

RULES: Final[Mapping[str, Mapping[Role, Extent]]] = {
    action: dict(zip(_ROLES, row, strict=True)) for action, row in _TABLE.items()
}
"""By action (see ``action_of``) and role."""

_OF_ANY: Final = {
    role: frozenset(action for action, row in RULES.items() if row[role] is Extent.ANY)
    for role in Role
}
"""By role: what it allows whatever it is about."""

NOT_FROM_CLIENTS: Final = frozenset(
    "accepted admit answer chunk drain drained drop dropped end enlist error noted ready result "
    "start start_failed started vouched wanted welcome".split()
)
"""Kinds of message that no client says to a daemon."""


def action_of(message: Message) -> str:
    """The row of the table: the kind, and of some the part that tells what is to be done."""
    match message:
        case Call():
            return f"call {message.op}"
        case Create():
            return f"create {message.mode}"
        case Ask():
            return f"ask {message.what}"
    return message.kind


def allows(grant: Grant, action: str, subject: Subject | None = None, method: str = "") -> bool:
    """Whether the grant allows it; for what concerns no agent ``subject`` is ``None``."""
    row = RULES.get(action)
    if row is None:
        return False
    for role in grant.roles:  # noqa: SIM110 - of each message: a generator would take twice as long
        if _reaches(grant, row[role], subject, method):
            return True
    return False


def allows_of_any(grant: Grant, action: str) -> bool:
    """Whether the grant allows it whatever it is about, so that nobody need look."""
    for role in grant.roles:  # noqa: SIM110 - as above
        if action in _OF_ANY[role]:
            return True
    return False


def _reaches(grant: Grant, extent: Extent, subject: Subject | None, method: str) -> bool:
    if extent is Extent.ANY:  # it never stands beside another one
        return True
    if Extent.WHOLE in extent and "*" in grant.agents:
        return True
    if subject is None:
        return False
    if Extent.OWN in extent and subject.maker == grant.who:
        return True
    if not lists(grant, subject):
        return False
    return Extent.LISTED in extent or (
        Extent.CALLED in extent and any(fnmatchcase(method, p) for p in grant.methods)
    )


def lists(grant: Grant, subject: Subject) -> bool:
    """Whether the agent is among those that the grant is about."""
    return any(
        pattern == "*"
        or (subject.id and pattern == subject.id)
        or (subject.name and fnmatchcase(subject.name, pattern))
        for pattern in grant.agents
    )


def may_code(grant: Grant) -> bool:
    """Whether payloads of that peer may be more than plain data, which is to run code here."""
    return Role.DEPLOYER in grant.roles or Role.ADMIN in grant.roles


def roles_for(action: str) -> str:
    """The least roles that allow it, for an error."""
    row = RULES.get(action, {})
    found = [role.value for role in _ROLES if row.get(role)]
    least = [name for name in found if name not in ("deployer", "admin")] or found
    return " or ".join(least) or "none"


def scoped_key(who: str, key: bytes) -> bytes:
    """The name of a call as a restricted peer's own: it cannot name those of anybody else."""
    return hashlib.blake2b(who.encode() + b"\0" + key, digest_size=24).digest()
