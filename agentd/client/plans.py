"""What is the same for all agents of a class, found out once a second instead of once an agent.

Agents are made by the thousand. Whether the class travels by its name or by value, which code goes
along, how the header of ``create`` looks: nothing of it changes between two of them.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from agentd import serialization
from agentd.protocol.messages import Create
from agentd.serialization import Bundle, Encoded

if TYPE_CHECKING:
    from agentd.client.options import DistConf
    from agentd.client.session import Session

__all__ = ["Plan", "note", "plan_for"]

FRESH_S: Final = 1.0
"""As long as files are not looked at again (see ``agentd.serialization.bundle_of``)."""
_CODEC: Final = Create.places["codec"][0]


class Plan:
    """How agents of a class are made with the same options in the same session."""

    __slots__ = ("_definition", "_empty", "_fresh", "_rest", "bundle", "conf", "label", "session")

    def __init__(
        self,
        conf: DistConf,
        session: Session,
        bundle: Bundle | None,
        like: Create,
        definition: Any = None,
    ) -> None:
        """``like``: the message that made one of them.

        ``definition``: of a class that travels by value (see ``serialization.definition_of``).
        """
        self.conf = conf
        self.session = session
        self.bundle = bundle
        self.label = like.cls
        """How the class is called; in payloads, too, if it travels by its name."""
        self._definition = definition
        self._empty: Encoded | None = None
        self._fresh = time.monotonic() + FRESH_S
        self._rest = list(like[2:])

    def encode(
        self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], refs: Any
    ) -> Encoded:
        """The payload."""
        target = self.label if self._definition is None else cls
        if args or kwargs:
            return serialization.encode_spec(target, args, kwargs, refs=refs)
        if self._empty is None:
            self._empty = serialization.encode_spec(target, (), {}, refs=refs)
        return self._empty

    def is_for(self, cls: type, conf: DistConf) -> bool:
        """Whether it holds for that class, as it is now, and those options."""
        module, qualname = cls.__module__, cls.__qualname__
        if not (
            conf is self.conf
            and time.monotonic() < self._fresh
            and self.label == f"{module}:{qualname}"
        ):
            return False
        if self._definition is None:
            return serialization.loaded(module, qualname) is cls
        return serialization.definition_of(cls) is self._definition

    def like(self, agent: bytes, codec: str) -> Create:
        """The order to make one; see ``Orders.create``."""
        values: list[Any] = [0, agent, *self._rest]
        values[_CODEC] = codec
        return Create.from_values(values)


_plans: weakref.WeakKeyDictionary[type, Plan] = weakref.WeakKeyDictionary()


def plan_for(cls: type, conf: DistConf) -> Plan | None:
    """The plan, if there is one that holds."""
    plan = _plans.get(cls)
    return plan if plan is not None and plan.is_for(cls, conf) else None


def note(cls: type, plan: Plan) -> None:
    """Go by it for the next ones."""
    _plans[cls] = plan
