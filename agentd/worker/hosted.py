"""One hosted agent: its object, and what may be done to it."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentd.client.about import about_class
from agentd.errors import AgentdError, AgentNotFound
from agentd.ids import show
from agentd.protocol.access import Subject
from agentd.worker.departed import Departed
from agentd.worker.executor import Executor
from agentd.worker.iterators import Iterators
from agentd.worker.pace import Pace
from agentd.worker.rows import Row
from agentd.worker.state import Seen, Watchers
from agentd.worker.terms import Terms
from agentd.worker.turns import Item, TurnOptions, Turns

if TYPE_CHECKING:
    from agentd.worker.references import HostReferences

__all__ = ["Agents", "Hosted"]

_NOTHING: Final[dict[str, Any]] = {}
_QUICK: Final[dict[str, set[str]]] = {}
"""By class: its methods that were quick last."""
_MAKING: Final = threading.Lock()
"""Held while an agent gets what it has only from when it first needs it."""


class Hosted:
    """An agent in this worker, from the moment it is to be built.

    There may be a hundred thousand of them, and most wait for calls: so it holds little, and what
    few need is made when it is needed.
    """

    __slots__ = (
        "_iterators",
        "_pace",
        "_references",
        "_watchers",
        "about",
        "cls",
        "code",
        "epoch",
        "gone",
        "id",
        "maker",
        "name",
        "object",
        "turns",
    )

    def __init__(
        self,
        agent: bytes,
        epoch: int,
        cls: str,
        executor: Executor,
        options: TurnOptions,
        references: HostReferences,
        name: str | None = None,
        maker: str = "",
        code: bytes = b"",
    ) -> None:
        self.id = agent
        self.epoch = epoch
        self.cls = cls
        self.name = name
        self.maker = maker
        """The peer that made it: it may do more with it than others."""
        self._references = references
        self.code = code
        """The bundle of modules that came along with it."""
        self.object: Any = None
        """From before its ``__init__`` runs."""
        self.about = _NOTHING
        """What its class offers; empty until it is built."""
        self.gone: str = ""
        """Why it takes no more calls; empty while it does."""
        self.turns = Turns(agent, executor, options)
        self._iterators: Iterators | None = None
        self._watchers: Watchers | None = None
        self._pace: Pace | None = None

    @property
    def subject(self) -> Subject:
        """What decides who may deal with it."""
        return Subject(show(self.id), self.name or "", self.maker)

    def proxy(self) -> Any:
        """A reference to the agent."""
        return self._references.proxy_of(self)

    @property
    def iterators(self) -> Iterators:
        """Those that its methods returned."""
        with _MAKING:
            if self._iterators is None:
                self._iterators = Iterators()
            return self._iterators

    @property
    def watchers(self) -> Watchers:
        """The versions of its attributes, and those who watch them."""
        with _MAKING:
            if self._watchers is None:
                self._watchers = Watchers(self.look)
                if self.gone:
                    self._watchers.close(self.ended_error())
            return self._watchers

    @property
    def pace(self) -> Pace:
        """Which of its methods are quick."""
        if self._pace is None:
            self._pace = Pace(_QUICK.setdefault(self.cls, set()))
        return self._pace

    def turn_ended(self) -> None:
        """Look at what is watched. In its turn, at the end."""
        if self._watchers is not None:
            self._watchers.turn_ended()

    def grant(self, who: Any, number: int, more: int) -> bool:
        """A watcher takes more; False if it is nobody here."""
        return self._watchers is not None and self._watchers.grant(who, number, more)

    def detach(self, who: Any, number: int) -> bool:
        """A watcher is gone; False if it is nobody here."""
        return self._watchers is not None and self._watchers.detach(who, number)

    def post(self, task: Callable[[], None]) -> None:
        """Run ``task`` after all that was posted before, whatever the limits."""
        self.turns.post_always(_Task(task))

    def post_in(self, row: Row, task: Callable[[], None]) -> None:
        """The same, in a row with what is done for other agents."""
        self.turns.post_always(_InRow(row, self.cls, task))

    def flags(self, name: str) -> int:
        """What kind of method it is (see ``agentd.client.about``); 0 for what is none."""
        return int(self.about.get("methods", {}).get(name, 0))

    def waits(self, key: bytes, begins: bool) -> None:  # noqa: FBT001 - begins or ends
        """One of its calls begins (ends) to wait for the call ``key`` that it made."""
        self.turns.waits(key, begins=begins)

    def adopt(self, obj: Any) -> None:
        """It is built: ``obj`` is the agent."""
        self.object = obj
        self.about = about_class(type(obj))

    def describe(self, obj: Any) -> dict[str, Any]:
        """``about``, also while ``__init__`` still runs."""
        return self.about or about_class(type(obj))

    def end(self, reason: str) -> list[Item]:
        """Refuse what waits; the object goes when the running calls are done. Returns those."""
        self.gone = reason
        self._references.leaves(self)
        still = self.turns.close(self.ended_error())
        with _MAKING:  # those that are made after this are made closed
            watchers = self._watchers
        if watchers is not None:
            watchers.close(self.ended_error())
        self.post(self.let_go)
        return still

    def ended_error(self) -> AgentNotFound:
        """Why it takes no calls."""
        return AgentNotFound(
            f"agent {show(self.id)[:8]} ({self.cls}) ended: {self.gone}",
            agent=show(self.id),
            reason=self.gone,
            moved=True,
        )

    def let_go(self) -> None:
        """Drop the object, if there is one; its ``__del__`` runs here, in its turn."""
        if self._iterators is not None:
            self._iterators.close_all()
        self._references.forget(self)
        self.object = None

    # -- operations --------------------------------------------------------------------------------
    def method_for(self, terms: Terms) -> Callable[[str, tuple[Any, ...], dict[str, Any]], Any]:
        """How methods are called on those terms."""
        return self.call_listed if terms.guest else self.call

    def call_listed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method that the class itself has, and nothing that is an attribute by chance."""
        if name not in self.about["methods"] and name not in self.about["specials"]:
            raise private(self.object, name, "it is no method of its class")
        return self.call(name, args, kwargs)

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method; the special ones are those that the class defines."""
        if name.startswith("_"):
            if name not in self.about["specials"]:
                raise private(self.object, name)
            # Special methods belong to the type, as with Python's own operators.
            return getattr(type(self.object), name)(self.object, *args, **kwargs)
        if self.about["exposed"] and name not in self.about["methods"]:
            raise private(self.object, name, "its class exposes others")
        return getattr(self.object, name)(*args, **kwargs)

    def get(self, name: str) -> Any:
        """Read an attribute."""
        if name.startswith("_"):
            raise private(self.object, name)
        return getattr(self.object, name)

    def set(self, name: str, value: Any) -> None:
        """Write an attribute."""
        if name.startswith("_"):
            raise private(self.object, name)
        setattr(self.object, name, value)

    def look(self, name: str) -> Seen:
        """An attribute and its version. In the agent's turn."""
        value = self.get(name)
        return Seen(value, self.watchers.version(name, value))

    def delete(self, name: str) -> None:
        """Delete an attribute."""
        if name.startswith("_"):
            raise private(self.object, name)
        delattr(self.object, name)

    def names(self) -> list[str]:
        """What ``dir`` shows: public names, and the special methods of the class."""
        return [n for n in dir(self.object) if not n.startswith("_") or n in self.about["specials"]]

    def is_own_method(self, value: Any) -> bool:
        """Whether an attribute is a method bound to this agent: then it is called, not copied."""
        return isinstance(value, types.MethodType) and value.__self__ is self.object

    def check_takes_calls(self, epoch: int) -> None:
        """Raise ``AgentNotFound`` unless calls of that epoch are for this agent."""
        if self.gone:
            raise self.ended_error()
        if epoch != self.epoch:
            raise moved(self.id)


class _Task:
    """Something of our own that takes a turn: building the agent, letting it go."""

    chain: tuple[tuple[bytes, bytes], ...] = ()
    who = None
    guests: Collection[Any] = ()
    readonly = False
    on_loop = False
    quick = False
    ended = True
    """Calls come when the agent has been built, which is told from within that turn."""

    def __init__(self, task: Callable[[], None]) -> None:
        self.run = task

    def accepted(self) -> None:
        """Nobody waits to be told."""

    def begin(self, done: Callable[[], None]) -> None:
        """Never: it runs on a thread."""

    def refuse(self, error: AgentdError) -> None:
        """Never: it is not subject to limits."""

    def interrupt(self) -> None:
        """It goes on."""

    def give_up(self, error: AgentdError) -> None:
        """It goes on."""


class _InRow(_Task):
    """The same, done in a row."""

    on_loop = True
    """It does not block the thread that starts it."""

    def __init__(self, row: Row, kind: str, task: Callable[[], None]) -> None:
        super().__init__(task)
        self._row = row
        self._kind = kind

    def begin(self, done: Callable[[], None]) -> None:
        """Have the row do it."""
        self._row.submit(self._kind, partial(self._do, done))

    def _do(self, done: Callable[[], None]) -> None:
        try:
            self.run()
        finally:
            done()


def private(
    obj: Any,
    name: str,
    why: str = "names with a leading underscore stay private to the agent",
) -> AttributeError:
    """The same type a missing attribute raises, so that ``hasattr`` and ``getattr`` work."""
    return AttributeError(
        f"{type(obj).__name__!r} object has no attribute {name!r} here: {why}", name=name
    )


class Agents(dict[bytes, Hosted]):
    """Those of one worker; asked for one that is not there (any more), it raises who knows."""

    def __init__(self) -> None:
        super().__init__()
        self._departed = Departed()

    def come(self, hosted: Hosted) -> None:
        """A new one."""
        self[hosted.id] = hosted
        self._departed.forget(hosted.id)

    def leave(self, hosted: Hosted) -> None:
        """It is not here any more. From any thread."""
        self._departed.remember(hosted.id, hosted.subject)
        self.pop(hosted.id, None)

    def subject(self, agent: bytes) -> Subject:
        """What decides who may deal with it; of one that was never here, the id alone."""
        hosted = self.get(agent)
        return self._departed.subject(agent) if hosted is None else hosted.subject

    def __missing__(self, agent: bytes) -> Hosted:
        raise moved(agent)


def moved(agent: bytes) -> AgentdError:
    """The agent is not here (any more); the daemon knows where it is."""
    return AgentNotFound(
        f"agent {show(agent)[:8]} is not in this worker", agent=show(agent), moved=True
    )
