"""The daemon's gate: the checks of ``protocol/checks.py``, and those of what only a daemon does.

So of making agents, and of finding them by name.
"""

from __future__ import annotations

from collections.abc import Callable

from agentd.errors import AgentCrashed, AgentdError, AgentNotFound
from agentd.protocol.access import Grant, Subject, action_of, allows, lists, may_code
from agentd.protocol.checks import Checks, GrantOf
from agentd.protocol.messages import Ask, Create, Locate, Message
from agentd.server.directory import Agent, Directory
from agentd.server.specs import Specs

__all__ = ["Gate"]


class Gate(Checks):
    """What each peer may do."""

    def __init__(
        self,
        directory: Directory,
        specs: Specs,
        endpoint: str,
        grant_of: GrantOf,
        *,
        safe: bool = False,
    ) -> None:
        """See ``Checks``."""
        super().__init__(directory.subject, endpoint, grant_of, safe=safe)
        self._directory = directory
        self._specs = specs

    # -- what others ask ---------------------------------------------------------------------------
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
        if grant is not None and allows(grant, "ask logs", self._told_of(error.agent)):
            return error
        facts = {name: fact for name, fact in error.facts.items() if name != "stderr_tail"}
        return AgentCrashed(error.message.partition("; its last words:")[0], **facts)

    def _told_of(self, agent: str | None) -> Subject | None:
        return None if agent is None else self._directory.subject(bytes.fromhex(agent))

    # -- every message -----------------------------------------------------------------------------
    def _denial(self, grant: Grant, action: str, message: Message) -> AgentdError:
        text = _text(message)
        if text is not None and allows(grant, action, Subject(name=text)):
            # The start of the id of some other agent: as if there were none.
            return AgentNotFound(f"there is no agent {text!r} here", name=text)
        return super()._denial(grant, action, message)

    def _subject(self, message: Message) -> Subject | None:
        if isinstance(message, Locate) and message.agent is not None:
            return self._directory.subject(message.agent)
        text = _text(message)
        return super()._subject(message) if text is None else self._directory.subject_of_text(text)

    def _further(self, grant: Grant, message: Message) -> Message:
        return self._create(grant, message) if isinstance(message, Create) else message

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


def _text(message: Message) -> str | None:
    """What it calls an agent by: a name, or the start of an id."""
    match message:
        case Locate(agent=None, name=str(name)):
            return name
        case Ask(params={"agent": str(text)}):
            return text
    return None
