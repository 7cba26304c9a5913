"""The gate: asked once about every message of a client, before anything is done about it.

It looks up what the peer may do (never what it says of itself), refuses what goes beyond that, and
gives the message as it goes on: with the daemon's verdict in it, and with the names of calls made
the peer's own. Refusals are alike whether the agent meant exists or not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from agentd.errors import (
    AgentCrashed,
    AgentdError,
    AgentNotFound,
    CodecNotAllowed,
    NotAllowed,
    ProtocolError,
)
from agentd.ids import show
from agentd.protocol.access import (
    RULES,
    Grant,
    Subject,
    action_of,
    allows,
    lists,
    may_code,
    roles_for,
    scoped_key,
)
from agentd.protocol.messages import (
    UNRESTRICTED,
    Ask,
    Attach,
    Bye,
    Call,
    Cancel,
    Create,
    Credit,
    Detach,
    Fate,
    Fetch,
    Keep,
    Locate,
    Message,
    Offer,
    Ping,
    Pong,
    Read,
    Release,
    Supply,
)
from agentd.server.audit import Note, silent
from agentd.server.directory import Agent, Directory
from agentd.server.specs import Specs

__all__ = ["Gate", "GrantOf"]

log = logging.getLogger("agentd.server")

GrantOf = Callable[[str], Grant | None]
"""What an authenticated peer may do now; ``None``: nothing (any more)."""

_UNANSWERED: Final = (Cancel, Keep, Release, Credit, Detach)


class Gate:
    """What each peer may do."""

    def __init__(
        self,
        directory: Directory,
        specs: Specs,
        endpoint: str,
        grant_of: GrantOf,
        *,
        safe: bool = False,
        note: Note = silent,
    ) -> None:
        """``endpoint``: where this daemon's workers find it. ``safe``: nobody sends code.

        ``note``: told what was denied. What is allowed is noted where it is done.
        """
        self._directory = directory
        self._specs = specs
        self._endpoint = endpoint
        self._safe = safe
        self._grant_of = grant_of
        self._note = note

    # -- what others ask ---------------------------------------------------------------------------
    def takes_code(self, who: str) -> bool:
        """Whether that peer may send more than plain data."""
        grant = self._grant_of(who)
        return grant is not None and may_code(grant) and not self._safe

    def sees(self, who: str) -> Callable[[Agent], bool]:
        """Which agents a list shows to that peer."""
        grant = self._grant_of(who)
        if grant is None:
            return lambda _agent: False
        return lambda agent: may_code(grant) or lists(grant, self._directory.subject(agent.id))

    def tells(self, who: str, error: AgentdError) -> AgentdError:
        """The error as that peer is told it: the last words of a crash are part of the logs."""
        grant = self._grant_of(who)
        if not isinstance(error, AgentCrashed) or error.stderr_tail is None:
            return error
        if grant is not None and allows(grant, "ask logs", self._subject_of(error.agent)):
            return error
        facts = {name: fact for name, fact in error.facts.items() if name != "stderr_tail"}
        return AgentCrashed(error.message.partition("; its last words:")[0], **facts)

    def _subject_of(self, agent: str | None) -> Subject | None:
        return None if agent is None else self._directory.subject(bytes.fromhex(agent))

    # -- every message -----------------------------------------------------------------------------
    def check(self, who: str, message: Message) -> Message | None:
        """The message as it goes on; ``None``: it is dropped, as it would have had no answer.

        Raises ``NotAllowed``, ``CodecNotAllowed``, ``ConfigError`` (an agent that is not
        registered) and ``ProtocolError``.
        """
        grant = self._grant_of(who)
        action = action_of(message)
        if grant is None:
            self._denied(who, action, _target(message), "no grant")
            raise NotAllowed(
                f"{who} may do nothing at this daemon: it has no grant, or not any more. Whoever "
                "runs the daemon gives one with: agentctl keys add",
                who=who,
                action=action,
            )
        if isinstance(message, (Ping, Pong, Bye)):
            return message
        asked = message
        try:
            self._check_roles(grant, action, message)
            self._check_code(grant, action, message)
            if isinstance(message, Create):
                message = self._create(grant, message)
            marked = self._marked(grant, message)
        except (NotAllowed, CodecNotAllowed):
            rule = ",".join(sorted(role.value for role in grant.roles))
            self._denied(who, action, _target(asked), rule)
            if isinstance(asked, _UNANSWERED):
                return None
            raise
        return marked

    def _denied(self, who: str, action: str, target: str, rule: str) -> None:
        self._note(who=who, action=action, target=target, decision="denied", rule=rule)
        log.debug("denied: %s", action, extra={"action": "denied", "who": who})

    def _check_roles(self, grant: Grant, action: str, message: Message) -> None:
        if action not in RULES and may_code(grant):
            return  # there is no such thing, which is told where it would be done
        method = message.name if isinstance(message, Call) else ""
        if allows(grant, action, self._subject(message), method):
            return
        text = _text(message)
        if text is not None and allows(grant, action, Subject(name=text)):
            # The start of the id of some other agent: as if there were none.
            raise AgentNotFound(f"there is no agent {text!r} here", name=text)
        raise self._refusal(grant, action, message)

    def _subject(self, message: Message) -> Subject | None:
        """The agent that it is about."""
        match message:
            case (
                Call()
                | Fetch()
                | Read()
                | Attach()
                | Cancel()
                | Keep()
                | Release()
                | Credit()
                | Detach()
                | Fate()
            ):
                return self._directory.subject(message.agent)
            case Locate(agent=bytes(agent)):
                return self._directory.subject(agent)
        text = _text(message)
        return None if text is None else self._directory.subject_of_text(text)

    def _refusal(self, grant: Grant, action: str, message: Message) -> NotAllowed:
        target = _target(message)
        role = roles_for(action)
        has = ", ".join(sorted(r.value for r in grant.roles)) or "no role"
        missing = f"there is no {target} for it, or " if target else ""
        return NotAllowed(
            f"{grant.who} ({has}) may not {_told(action, message)} here: {missing}it would need "
            f"the role {role}",
            who=grant.who,
            action=action,
            target=target,
            role=role,
        )

    # -- code --------------------------------------------------------------------------------------
    def _check_code(self, grant: Grant, action: str, message: Message) -> None:
        """Nothing but data of those who may send nothing else, and of nobody in safe mode."""
        if may_code(grant) and not self._safe:
            return
        codec = ""
        match message:
            case Call():
                codec = message.codec
            case Create():
                codec = "code" if message.mode != "registered" or message.code else message.codec
            case Offer() | Supply():
                codec = "code"
        if codec not in ("", "data"):
            why = (
                "this daemon runs in safe mode, in which nobody sends code"
                if self._safe
                else f"{grant.who} would need the role deployer, which equals a shell here"
            )
            raise CodecNotAllowed(
                f"{_told(action, message)} with {codec!r}: only plain data is taken; {why}",
                codec=codec,
            )

    # -- making agents -----------------------------------------------------------------------------
    def _create(self, grant: Grant, message: Create) -> Create:
        if not may_code(grant):
            named = message.name is None or lists(grant, Subject(name=message.name))
            known = self._directory.subject(message.agent)
            parent = message.parent
            own_parent = parent is None or self._made(parent) == grant.who
            if not named or not own_parent or known.maker not in ("", grant.who):
                raise self._refusal(grant, action_of(message), message)
        if message.mode == "registered":
            return message.changed(cls=self._specs.resolve(message.cls))
        return message

    def _made(self, agent: bytes) -> str:
        return self._directory.subject(agent).maker

    # -- the verdict -------------------------------------------------------------------------------
    def _marked(self, grant: Grant, message: Message) -> Message:
        """With who it is by, for the worker; a restricted peer's names are its own."""
        free = may_code(grant)
        by = UNRESTRICTED if free else grant.who
        match message:
            case Create():
                needs = message.needs if free else self._needs(grant, message.needs)
                plain = message.plain or not free or self._safe
                return message.changed(by=by, plain=plain, needs=needs)
            case Call() if free:
                return message.changed(by=by, plain=message.plain or self._safe)
            case Call():
                return message.changed(
                    by=by,
                    plain=True,
                    key=_scoped(grant, message.key),
                    chain=_scoped_chain(grant, message.chain),
                    needs=self._needs(grant, message.needs),
                )
            case Fetch() | Attach() | Cancel() if not free:
                return message.changed(key=_scoped(grant, message.key))
            case Release() | Keep() if not free:
                return message.changed(keys=[_scoped(grant, key) for key in message.keys])
        return message

    def _needs(self, grant: Grant, needs: list[Any]) -> list[Any]:
        """Only results of calls that the same peer made here: the worker gets them for it."""
        marked = []
        for need in needs:
            match need:
                case ["result", bytes(key), bytes(agent), str(), int(epoch)]:
                    subject = self._directory.subject(agent)
                    if not allows(grant, "fetch", subject):
                        raise NotAllowed(
                            f"{grant.who} may not hand on a result of an agent that it may not "
                            "call here",
                            who=grant.who,
                            action="fetch",
                            role=roles_for("fetch"),
                        )
                    scoped = scoped_key(grant.who, key)
                    marked.append(["result", key, agent, self._endpoint, epoch, scoped])
                case _:
                    raise ProtocolError("a need is [result, key, agent, endpoint, epoch]")
        return marked


def _scoped(grant: Grant, key: Any) -> bytes:
    if type(key) is not bytes:
        raise ProtocolError("the key of a call is bytes")
    return scoped_key(grant.who, key) if key else key


def _scoped_chain(grant: Grant, chain: list[Any]) -> list[Any]:
    scoped = []
    for link in chain:
        match link:
            case [bytes(agent), bytes(key)]:
                scoped.append([agent, _scoped(grant, key)])
            case _:
                raise ProtocolError("a chain is made of [agent, key]")
    return scoped


def _text(message: Message) -> str | None:
    """What it calls an agent by: a name, or the start of an id."""
    match message:
        case Locate(agent=None, name=str(name)):
            return name
        case Ask(params={"agent": str(text)}):
            return text
    return None


def _target(message: Message) -> str:
    """What the peer itself calls it: no name that it may not know."""
    match message:
        case Create():
            return message.name or message.cls
        case Locate():
            return f"agent {message.name}" if message.agent is None else _agent(message.agent)
        case Ask(params={"agent": str(text)}):
            return f"agent {text}"
    agent = getattr(message, "agent", None)
    return _agent(agent) if isinstance(agent, bytes) else ""


def _agent(agent: bytes) -> str:
    return f"agent {show(agent)}"


def _told(action: str, message: Message) -> str:
    match message:
        case Call(op="method" | "stream"):
            return f"call {message.name!r} of {_target(message)}"
        case Ask():
            return f"{message.what} {_target(message)}".rstrip()
    return f"{action} {_target(message)}".rstrip()
