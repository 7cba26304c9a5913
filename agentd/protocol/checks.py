"""What is asked about every message of a client, at each door, before anything is done about it.

The daemon's own sockets ask it (``server/gate.py``), and so does a worker that is on the network
(``worker/visitors.py``). It looks up what the peer may do (never what it says of itself), refuses
what goes beyond that, and gives the message as it goes on: with the verdict in it, and with the
names of calls made the peer's own. Refusals are alike whether the agent meant exists or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agentd.errors import AgentdError, CodecNotAllowed, NotAllowed, ProtocolError
from agentd.ids import show
from agentd.protocol.access import (
    RULES,
    Grant,
    Subject,
    action_of,
    allows,
    allows_of_any,
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

__all__ = ["UNANSWERED", "Checks", "GrantOf", "is_for_asker_alone", "target_of"]

GrantOf = Callable[[str], Grant | None]
"""What an authenticated peer may do now; ``None``: nothing (any more)."""

UNANSWERED: Final = (Cancel, Keep, Release, Credit, Detach)
"""What has no answer: where it is refused, it is dropped."""


_OF_AGENTS: Final = (
    Call,
    Fetch,
    Read,
    Attach,
    Cancel,
    Keep,
    Release,
    Credit,
    Detach,
    Fate,
)
"""What is said to an agent that exists, or is thought to."""


def is_for_asker_alone(message: Message) -> bool:
    """Whether it is done for who sent it, who waits for an answer, and for nobody else."""
    if isinstance(message, Call):
        return not message.oneway and not message.hold
    return isinstance(message, (Ask, Attach, Fate, Fetch, Locate, Ping, Read))


class Checks:
    """What each peer may do, of what concerns calls. Pure."""

    def __init__(
        self,
        subject_of: Callable[[bytes], Subject],
        endpoint: str,
        grant_of: GrantOf,
        *,
        safe: bool = False,
    ) -> None:
        """``subject_of``: what is known of an agent; of one that is not known, the id alone.

        ``endpoint``: where this daemon's workers find it. ``safe``: nobody sends code.
        """
        self._subject_of = subject_of
        self._endpoint = endpoint
        self._grant_of = grant_of
        self._safe = safe

    def takes_code(self, who: str) -> bool:
        """Whether that peer may send more than plain data."""
        grant = self._grant_of(who)
        return grant is not None and may_code(grant) and not self._safe

    def check(self, who: str, message: Message) -> Message:
        """The message as it goes on.

        Raises ``NotAllowed``, ``CodecNotAllowed`` and ``ProtocolError``; at the daemon also
        ``AgentNotFound`` and ``ConfigError`` (an agent that is not registered).
        """
        grant = self._grant_of(who)
        action = action_of(message)
        if grant is None:
            raise NotAllowed(
                f"{who} may do nothing at this daemon: it has no grant, or not any more. Whoever "
                "runs the daemon gives one with: agentctl keys add",
                who=who,
                action=action,
            )
        if isinstance(message, (Ping, Pong, Bye)):
            return message
        self._check_roles(grant, action, message)
        self._check_code(grant, action, message)
        return self._marked(grant, self._further(grant, message))

    def _further(self, grant: Grant, message: Message) -> Message:
        """What else is asked of some messages, at some doors."""
        return message

    def _check_roles(self, grant: Grant, action: str, message: Message) -> None:
        if allows_of_any(grant, action):
            return
        if action not in RULES and may_code(grant):
            return  # there is no such thing, which is told where it would be done
        method = message.name if isinstance(message, Call) else ""
        if not allows(grant, action, self._subject(message), method):
            raise self._denial(grant, action, message)

    def _denial(self, grant: Grant, action: str, message: Message) -> AgentdError:
        """What is told of something that no role of the grant allows."""
        return self._refusal(grant, action, message)

    def _subject(self, message: Message) -> Subject | None:
        """The agent that it is about."""
        return self._subject_of(message.agent) if isinstance(message, _OF_AGENTS) else None

    def _refusal(self, grant: Grant, action: str, message: Message) -> NotAllowed:
        target = target_of(message)
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
                    subject = self._subject_of(agent)
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


def target_of(message: Message) -> str:
    """The agent that it is about, as the peer itself calls it: no name that it may not know."""
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
            return f"call {message.name!r} of {target_of(message)}"
        case Ask():
            return f"{message.what} {target_of(message)}".rstrip()
    return f"{action} {target_of(message)}".rstrip()
