"""Agents for the tests, in a module that the workers can import."""

from __future__ import annotations

import abc
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import agentd

T = TypeVar("T")


class Counter(agentd.Agent):
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def boom(self, error: BaseException) -> None:
        raise error

    def echo(self, value: Any) -> Any:
        return value

    def me(self) -> Counter:
        return self

    def ask(self, other: Any, method: str, *args: Any) -> Any:
        return getattr(other, method)(*args)

    def is_counter(self, other: Any) -> bool:
        return isinstance(other, Counter)


class Everything(agentd.Agent):
    """Defines all that an object can define."""

    shared: ClassVar[list[int]] = [1, 2]
    LIMIT = 7

    def __init__(self, value: int = 3, *, items: dict[str, int] | None = None) -> None:
        self.value = value
        self.items = dict(items or {"a": 1, "b": 2})
        self.log: list[str] = []
        self._secret = "s"
        self.fn = lambda x: x + 1

    def _hidden(self) -> None: ...

    def plain(self) -> int:
        return self.value

    def args(self, a: Any, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> Any:
        return a, b, rest, c, more

    def only(self, a: Any, /, *, b: Any) -> Any:
        return a, b

    def self(self) -> Any:
        return self

    def name(self, name: str = "n", self_: int = 0) -> str:
        return f"{name}{self_}"

    @property
    def double(self) -> int:
        return self.value * 2

    @double.setter
    def double(self, new: int) -> None:
        self.value = new // 2

    @double.deleter
    def double(self) -> None:
        self.value = 0

    @property
    def broken(self) -> int:
        return self.value + self.no_such_thing  # type: ignore[no-any-return]

    @property
    def angry(self) -> int:
        raise ValueError("angry")

    @staticmethod
    def static(a: int, b: int = 1) -> int:
        return a - b

    @classmethod
    def of(cls, a: int) -> tuple[str, int]:
        return cls.__name__, a * cls.LIMIT

    def fail(self, *args: Any) -> None:
        raise KeyError(*args)

    def count(self, n: int) -> Iterator[int]:
        try:
            yield from range(n)
        finally:
            self.log.append("finally")

    def forever(self) -> Iterator[int]:
        n = 0
        try:
            while True:
                yield n
                n += 1
        finally:
            self.log.append("closed")

    def stumble(self) -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("third")

    # -- special methods ---------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "called", args, kwargs

    def __getitem__(self, key: Any) -> Any:
        return self.items[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.items[key]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self.items))

    def __contains__(self, key: Any) -> bool:
        return key in self.items

    def __enter__(self) -> Everything:
        self.log.append("enter")
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self.log.append(f"exit {kind and kind.__name__} {error}")
        return kind is ZeroDivisionError

    def __eq__(self, other: object) -> Any:
        return self.value == other.value if isinstance(other, Everything) else NotImplemented

    def __hash__(self) -> int:
        return hash(("Everything", self.value))

    def __lt__(self, other: Any) -> Any:
        if isinstance(other, (int, Everything)):
            return self.value < getattr(other, "value", other)
        return NotImplemented

    def __le__(self, other: Any) -> Any:
        return self.value <= getattr(other, "value", other)

    def __gt__(self, other: Any) -> Any:
        return self.value > getattr(other, "value", other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= getattr(other, "value", other)

    def __bool__(self) -> bool:
        return self.value > 0

    def __str__(self) -> str:
        return f"everything {self.value}"

    def __bytes__(self) -> bytes:
        return b"%d" % self.value

    def __format__(self, spec: str) -> str:
        return f"<{self.value:{spec}}>"

    def __int__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return float(self.value)

    def __complex__(self) -> complex:
        return complex(self.value)

    def __index__(self) -> int:
        return self.value

    def __round__(self, digits: int | None = None) -> Any:
        return "round", digits

    def __neg__(self) -> int:
        return -self.value

    def __pos__(self) -> int:
        return +self.value

    def __abs__(self) -> int:
        return abs(self.value)

    def __invert__(self) -> int:
        return ~self.value

    def __add__(self, other: Any) -> Any:
        if isinstance(other, (int, Everything)):
            return self.value + getattr(other, "value", other)
        return NotImplemented

    def __radd__(self, other: Any) -> Any:
        return "radd", other

    def __sub__(self, other: Any) -> Any:
        return "sub", other

    def __rsub__(self, other: Any) -> Any:
        return "rsub", other

    def __mul__(self, other: Any) -> Any:
        return "mul", other

    def __rmul__(self, other: Any) -> Any:
        return "rmul", other

    def __matmul__(self, other: Any) -> Any:
        return "matmul", other

    def __truediv__(self, other: Any) -> Any:
        return self.value / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.value

    def __floordiv__(self, other: Any) -> Any:
        return self.value // other

    def __mod__(self, other: Any) -> Any:
        return self.value % other

    def __divmod__(self, other: Any) -> Any:
        return divmod(self.value, other)

    def __rdivmod__(self, other: Any) -> Any:
        return divmod(other, self.value)

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        return pow(self.value, other, modulo)

    def __rpow__(self, other: Any) -> Any:
        return other**self.value

    def __lshift__(self, other: Any) -> Any:
        return self.value << other

    def __rshift__(self, other: Any) -> Any:
        return self.value >> other

    def __and__(self, other: Any) -> Any:
        return self.value & other

    def __or__(self, other: Any) -> Any:
        return self.value | other

    def __ror__(self, other: Any) -> Any:
        return "ror", other

    def __xor__(self, other: Any) -> Any:
        return self.value ^ other

    def __iadd__(self, other: Any) -> Everything:
        self.value += other
        return self

    def __imul__(self, other: Any) -> Everything:
        self.value *= other
        return self


class Bare(agentd.Agent):
    """Defines nothing that it need not."""

    def __init__(self) -> None:
        self.value = 1


class Shape(agentd.Agent, abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float) -> None:
        super().__init__()
        self.side = side

    def area(self) -> float:
        return self.side**2


class Box(agentd.Agent, Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content

    def open(self) -> T:
        return self.content


class Plain:
    def __init__(self, base: int) -> None:
        self.base = base

    def greet(self) -> str:
        return f"plain {self.base}"


class Meta(Plain, metaclass=agentd.RpcMeta):
    def __init__(self, base: int, extra: int) -> None:
        super().__init__(base)
        self.extra = extra

    def greet(self) -> str:
        return f"{super().greet()} and {self.extra}"


@dataclasses.dataclass
class Point(agentd.Agent):
    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)

    def norm(self) -> int:
        return self.x**2 + self.y**2


class Slotted(agentd.Agent):
    __slots__ = ("a", "b")

    def __init__(self, a: int) -> None:
        self.a = a


class Mine(agentd.Agent):
    """Uses all the names that agentd has for its own things."""

    endpoint = "my endpoint"
    creation = "my creation"

    def __init__(self) -> None:
        self.id = "my id"
        self.direct = "my direct"

    @property
    def name(self) -> str:
        return "my name"

    def to_dist(self, *args: Any) -> tuple[str, Any]:
        return "my to_dist", args

    def info(self) -> str:
        return "my info"

    def delete(self) -> str:
        return "my delete"

    def wait(self, timeout: float | None = None) -> str:
        return f"my wait {timeout}"

    def ping(self) -> str:
        return "my ping"

    def submit(self) -> str:
        return "my submit"

    def agent(self) -> str:
        return "my agent"

    def call(self, name: str, proxy: int = 0, deadline: int = 1) -> str:
        return f"my call {name} {proxy} {deadline}"


class Initialised(agentd.Agent):
    """Writes down who made it, and how often."""

    def __new__(cls, file: str = "", *args: Any, **kwargs: Any) -> Initialised:
        if file:  # without one: made for its state to be filled in
            note(file, "new")
        return super().__new__(cls)

    def __init__(self, file: str, value: int = 0) -> None:
        note(file, "init")
        self.file = file
        self.value = value

    def pid(self) -> int:
        return os.getpid()


class Late(agentd.Agent):
    """Is ready when a file is there."""

    def __init__(self, file: str, *, here: str = "", of: int = 0) -> None:
        if here:  # wait until as many as that have come so far
            note(here, "came")
            while len(noted(here)) < of:
                time.sleep(0.01)
        while file and not Path(file).exists():
            time.sleep(0.01)
        self.value = 1


class Failing(agentd.Agent):
    def __init__(self, file: str = "") -> None:
        while file and not Path(file).exists():
            time.sleep(0.01)
        self.deep()

    def deep(self) -> None:
        raise ValueError("no good", 42)


class Introduced(agentd.Agent):
    """Hands itself to another agent while it is still being made."""

    def __init__(self, registry: Any) -> None:
        registry.take(self)
        self.value = "done"


class Registry(agentd.Agent):
    def __init__(self) -> None:
        self.known: list[Any] = []

    def take(self, agent: Any) -> None:
        self.known.append(agent)

    def all(self) -> list[Any]:
        return self.known

    def values(self) -> list[Any]:
        return [agent.value for agent in self.known]


class Maker(agentd.Agent):
    """Makes agents of its own."""

    def make(self, n: int, **options: Any) -> list[Any]:
        return [Counter(i, to_dist=options or True) for i in range(n)]


def note(file: str, what: str) -> None:
    """Append a line: what, and in which process."""
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what} {os.getpid()}\n".encode())
    os.close(fd)


def noted(file: str) -> list[tuple[str, int]]:
    """The lines so far."""
    try:
        with Path(file).open() as lines:
            return [(what, int(pid)) for what, pid in map(str.split, lines)]
    except FileNotFoundError:
        return []
