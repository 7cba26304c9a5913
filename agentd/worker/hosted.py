"""One hosted agent: its object, its mailbox, and what may be done to it.

Calls wait in the mailbox and run one at a time, in the order they arrived, on whatever thread the
executor gives; an agent with nothing to do costs no thread.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import traceback
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from agentd.client.about import about_class
from agentd.client.context import Running, running
from agentd.errors import AgentdError, AgentNotFound, ProtocolError
from agentd.ids import show
from agentd.worker.executor import Executor

__all__ = ["Hosted", "Iterators"]

TURN: Final = 64
"""Calls run in a row before the thread is offered to other agents."""
MAX_ITERATORS: Final = 256
"""Open iterators per agent; the one longest unread is closed for the next one."""

BATCH: Final = 256
BATCH_S: Final = 0.01
"""Items per message, and how long to collect them: far below what a person notices."""

Task = Callable[[], None]


class Hosted:
    """An agent in this worker, from the moment it is to be built."""

    def __init__(self, agent: bytes, epoch: int, cls: str, executor: Executor) -> None:
        self.id = agent
        self.epoch = epoch
        self.cls = cls
        self.object: Any = None
        self.about: dict[str, Any] = {}
        self.iterators = Iterators()
        self.gone: str = ""
        """Why it takes no more calls; empty while it does."""
        self._executor = executor
        self._running = Running(agent, epoch)
        self._lock = threading.Lock()  # protects the two below
        self._mailbox: deque[tuple[Task, Task]] = deque()
        self._active = False

    def post(self, task: Task, refuse: Task = lambda: None) -> None:
        """Run ``task`` after all that was posted before, or ``refuse`` if the agent ends first.

        From any thread; neither may raise.
        """
        with self._lock:
            self._mailbox.append((task, refuse))
            if self._active:
                return
            self._active = True
        self._executor.submit(self._run)

    def _run(self) -> None:
        token = running.set(self._running)
        try:
            for _ in range(TURN):
                with self._lock:
                    if not self._mailbox:
                        self._active = False
                        return
                    task, refuse = self._mailbox.popleft()
                try:
                    task()
                except BaseException:  # noqa: BLE001 - a defect of ours; other callers still wait
                    traceback.print_exc()
                del task, refuse
        finally:
            running.reset(token)
        self._executor.submit(self._run)

    def adopt(self, obj: Any) -> None:
        """It is built: ``obj`` is the agent."""
        self.object = obj
        self.about = about_class(type(obj))

    def describe(self, obj: Any) -> dict[str, Any]:
        """``about``, also while ``__init__`` still runs."""
        return self.about or about_class(type(obj))

    def end(self, reason: str) -> None:
        """Refuse what waits in the mailbox; the object goes when the running call is done."""
        with self._lock:
            self.gone = reason
            waiting, self._mailbox = self._mailbox, deque()
        for _task, refuse in waiting:
            refuse()
        self.post(self.let_go)

    def let_go(self) -> None:
        """Drop the object; its ``__del__`` runs here, in its turn."""
        self.iterators.close_all()
        self.object = None

    # -- operations --------------------------------------------------------------------------------
    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method; the special ones are those that the class defines."""
        if name.startswith("_"):
            if name not in self.about["specials"]:
                raise private(self.object, name)
            # Special methods belong to the type, as with Python's own operators.
            return getattr(type(self.object), name)(self.object, *args, **kwargs)
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
            raise AgentNotFound(
                f"agent {show(self.id)[:8]} ({self.cls}) ended: {self.gone}",
                agent=show(self.id),
                reason=self.gone,
                moved=True,
            )
        if epoch != self.epoch:
            raise moved(self.id)


class Iterators:
    """Iterators that stay here and are read from afar, a batch at a time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: OrderedDict[int, Iterator[Any]] = OrderedDict()

    def open(self, iterator: Iterator[Any]) -> int:
        """Keep it; the number by which it is read."""
        number = next(self._numbers)
        self._open[number] = iterator
        while len(self._open) > MAX_ITERATORS:
            self.close(next(iter(self._open)))
        return number

    def take(self, number: int) -> tuple[list[Any], bool]:
        """The next items, and whether the iterator is at its end.

        At least one; more only as long as they come quickly, so that a slow source is passed on
        item by item and a fast one in batches.
        """
        iterator = self._open.get(number)
        if iterator is None:
            raise ProtocolError(
                "this iterator was closed: it was read to its end, let go, or more than "
                f"{MAX_ITERATORS} were open on the agent at once"
            )
        self._open.move_to_end(number)
        items: list[Any] = []
        try:
            until = time.monotonic() + BATCH_S
            while len(items) < BATCH:
                items.append(next(iterator))
                if time.monotonic() > until:
                    break
        except StopIteration:
            del self._open[number]
            return items, True
        except BaseException as error:
            self._open.pop(number, None)
            if not items:
                raise
            self._open[number] = _Raising(error)  # the items before it come first
        return items, False

    def close(self, number: int) -> None:
        """Let go of it; a generator runs its ``finally`` now."""
        iterator = self._open.pop(number, None)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()

    def close_all(self) -> None:
        """The agent ends."""
        for number in list(self._open):
            with contextlib.suppress(Exception):
                self.close(number)


class _Raising:
    """An iterator that has nothing but an exception."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error


def private(obj: Any, name: str) -> AttributeError:
    """The same type a missing attribute raises, so that ``hasattr`` and ``getattr`` work."""
    return AttributeError(
        f"{type(obj).__name__!r} object has no attribute {name!r} here: names with a leading "
        "underscore stay private to the agent",
        name=name,
    )


def moved(agent: bytes) -> AgentdError:
    """The agent is not here (any more); the daemon knows where it is."""
    return AgentNotFound(
        f"agent {show(agent)[:8]} is not in this worker", agent=show(agent), moved=True
    )
