"""One hosted agent: its object, and what may be done to it."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from agentd.client.about import about_class
from agentd.errors import AgentdError, AgentNotFound
from agentd.ids import show
from agentd.worker.executor import Executor
from agentd.worker.iterators import Iterators
from agentd.worker.pace import Pace
from agentd.worker.rows import Row
from agentd.worker.state import Seen, Watchers
from agentd.worker.subjects import Subjects
from agentd.worker.terms import Terms
from agentd.worker.turns import Item, TurnOptions, Turns

__all__ = ["Agents", "Hosted"]


class Hosted:
    """An agent in this worker, from the moment it is to be built."""

    def __init__(
        self,
        agent: bytes,
        epoch: int,
        cls: str,
        executor: Executor,
        options: TurnOptions,
        proxy: Callable[[], Any],
        code: bytes = b"",
    ) -> None:
        self.id = agent
        self.epoch = epoch
        self.cls = cls
        self.proxy = proxy
        """Makes a reference to the agent."""
        self.code = code
        """The bundle of modules that came along with it."""
        self.object: Any = None
        self.about: dict[str, Any] = {}
        self.iterators = Iterators()
        self.gone: str = ""
        """Why it takes no more calls; empty while it does."""
        self.turns = Turns(agent, executor, options)
        self.watchers = Watchers(self.look)
        self.pace = Pace()
        """Which of its methods are quick."""

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
        still = self.turns.close(self.ended_error())
        self.watchers.close(self.ended_error())
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
        """Drop the object; its ``__del__`` runs here, in its turn."""
        self.iterators.close_all()
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
        self.subjects = Subjects()

    def come(self, hosted: Hosted, name: str | None, maker: str) -> None:
        """A new one, with what decides who may deal with it."""
        self[hosted.id] = hosted
        self.subjects.came(hosted.id, name, maker)

    def leave(self, agent: bytes) -> Hosted | None:
        """It is not here any more; ``None`` if it was not."""
        self.subjects.left(agent)
        return self.pop(agent, None)

    def __missing__(self, agent: bytes) -> Hosted:
        raise moved(agent)


def moved(agent: bytes) -> AgentdError:
    """The agent is not here (any more); the daemon knows where it is."""
    return AgentNotFound(
        f"agent {show(agent)[:8]} is not in this worker", agent=show(agent), moved=True
    )
