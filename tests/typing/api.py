"""The public API as users type it: a checker finds nothing wrong here.

mypy runs with the plugin and --strict, pyright with its defaults. ``assert_type`` would not say the
same in both (pyright sees ``Counter | Any``, see docs/typing.md), so values go where their type is
asked for. Nothing of this is run.
"""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import agentd

T = TypeVar("T")
P = ParamSpec("P")


class Counter(agentd.Agent):
    def __init__(self, n: int) -> None:
        self.n = n

    def add(self, k: int) -> int:
        self.n += k
        return self.n

    @property
    def double(self) -> int:
        return 2 * self.n

    @classmethod
    def far(cls, n: int) -> Self:
        return cls(n).to_dist()

    def __getitem__(self, k: int) -> int:
        return self.n + k


def wants_counter(counter: Counter) -> None: ...
def wants_int(value: int) -> None: ...
def wants_str(value: str) -> None: ...


# -- the README -----------------------------------------------------------------------------------

counter = Counter(5, to_dist=True)
print(counter.add(1))

a = Counter(5, to_dist=True)
b = Counter(5).to_dist()
c = Counter(5, to_dist={"endpoint": "ipc:///run/agentd.sock", "name": "tally"})
d = Counter(5).to_dist(endpoint="ipc:///run/agentd.sock", name="tally")
e = Counter(5, to_dist=False)
f = Counter(5, to_dist=None)
g = Counter(5, to_dist="ipc:///run/agentd.sock")
h = Counter(5, to_dist=agentd.DistConf(name="tally", get_if_exists=True))
i = Counter(n=5, to_dist=agentd.DistConf(host="127.0.0.1", port=7000, worker="dedicated"))
j = Counter(5).to_dist(lifetime="daemon", worker="dedicated", get_if_exists=True)

for each in (a, b, c, d, e, f, g, h, i, j):
    wants_counter(each)
wants_int(a.add(1) + b.add(1) + a.n + a.double + a[3])
a.n = 7
wants_counter(Counter.far(1))

# -- handles and clients --------------------------------------------------------------------------

handle = agentd.handle(a)
wants_str(handle.id)
handle.wait(timeout=10)
handle.wait()
handle.ping()
handle.delete()
with agentd.handle(b):
    b.add(1)

with agentd.connect() as client:
    client.agents()
    client.info()
    tally = client.get("tally")
    tally.add(1)
    client.create("package.module:Counter", 5)
    client.delete("tally")
agentd.connect("ipc:///run/agentd.sock").close()
agentd.connect(endpoint=None).close()

# -- errors ---------------------------------------------------------------------------------------

try:
    a.add(1)
except agentd.errors.AgentCrashed as crash:
    print(crash.exit_code, crash.signal, crash.stderr_tail)
except agentd.errors.AgentdError as error:
    wants_str(error.message)


# -- all kinds of classes -------------------------------------------------------------------------


class Sub(Counter):
    def __init__(self, n: int, label: str = "", **more: int) -> None:
        super().__init__(n)
        self.label = label


class Inherits(Counter):
    pass


wants_int(Sub(5, "x", to_dist=True).add(1))
wants_str(Sub(5, label="x", other=3, to_dist=True).label)
wants_counter(Inherits(5, to_dist=True))
wants_counter(Sub(5).to_dist())


class Plain(metaclass=agentd.RpcMeta):
    def __init__(self, n: int) -> None:
        self.n = n

    def get(self) -> int:
        return self.n


wants_int(Plain(5, to_dist=True).get())


class NoInit(agentd.Agent):
    level: int = 3


wants_int(NoInit(to_dist=True).level)


class Shape(agentd.Agent, ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


def measure(shape: Shape) -> float:
    return shape.area()


measure(Square(2, to_dist=True))


@dataclass
class Point(agentd.Agent):
    x: int = 0
    y: int = 0

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)


wants_int(Point(1, y=2, to_dist=True).moved(1).x)


class Box(agentd.Agent, Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item

    def get(self) -> T:
        return self.item


box: Box[str] = Box("a", to_dist=True)
wants_str(box.get())
wants_str(Box("a").to_dist().get())


class Texts(Box[str]):
    pass


wants_str(Texts("a", to_dist=True).get())


class Either(agentd.Agent):
    @overload
    def __init__(self, value: int) -> None: ...
    @overload
    def __init__(self, value: str, base: int) -> None: ...
    def __init__(self, value: int | str, base: int = 10) -> None:
        self.value = int(value, base) if isinstance(value, str) else value


wants_int(Either(5, to_dist=True).value + Either("5", 16, to_dist=True).value)


class Runs(agentd.Agent):
    """Takes any function: nothing can stand between its two kinds of arguments."""

    def __init__(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        self.value = func(*args, **kwargs)


Runs(wants_int, 5).to_dist()


class Own(agentd.Agent):
    """Has a parameter of that name itself, which stays what it is."""

    def __init__(self, n: int, *, to_dist: bool = False) -> None:
        self.n = n


Own(5, to_dist=True)


# -- classes as values ----------------------------------------------------------------------------


def local() -> int:
    class Inside(agentd.Agent):
        def __init__(self, n: int) -> None:
            self.n = n

    return Inside(5, to_dist=True).n + Inside(5).to_dist().n


def make(kind: type[Counter]) -> Counter:
    return kind(5).to_dist()


def build_any(build: Callable[..., T], conf: Mapping[str, Any] | agentd.DistConf) -> T:
    return build(5, to_dist=conf)


wants_counter(build_any(Counter, {"name": "tally"}))


def anything(value: Any) -> int:
    return Counter(value, to_dist={"name": value}).add(value)


Alias = Counter
wants_int(Alias(5, to_dist=True).add(1))
build: Callable[[int], Counter] = Counter
wants_counter(functools.partial(Counter, 5)())
list(map(Counter, range(3)))


# -- agents that take agents ----------------------------------------------------------------------


class Pair(agentd.Agent):
    def __init__(self, left: Counter, right: Counter) -> None:
        self.left = left
        self.right = right

    def total(self) -> int:
        return self.left.add(0) + self.right.add(0)

    def first(self) -> Counter:
        return self.left


pair = Pair(a, Counter(1), to_dist=True)
wants_int(pair.total())
wants_counter(pair.first())


# -- every kind of call ---------------------------------------------------------------------------


class Foreign:
    def __init__(self, n: int) -> None:
        self.n = n

    def grow(self) -> int:
        return self.n + 1


wants_int(agentd.host(Foreign)(5, to_dist=True).grow())
wants_int(agentd.host(Foreign(5)).to_dist().grow())
wants_int(agentd.host(Foreign(5)).to_dist(name="foreign").n)

retry = agentd.Retry.exponential(times=3, first=0.1)
patient = Counter(5, to_dist=agentd.DistConf(timeout=10.0, retry=retry))
wants_int(Counter(5, to_dist={"retry": agentd.Retry.fixed(2, 0.5), "timeout": 3}).add(1))


def fetch(result: agentd.AsyncResult[int]) -> int:
    wants_int(result.result(timeout=1.0))
    result.add_done_callback(lambda done: wants_int(done.result()))
    for done in as_completed([result]):
        wants_int(done.result())
    return result.result()


async def wait(result: agentd.AsyncResult[int]) -> int:
    mine = agentd.aio(patient)
    wants_int(await mine.add(1))
    async for item in mine.items.stream(3):
        print(item)
    await mine.add.options(timeout=2.0, key="once")(1)
    client = await agentd.aio.connect()
    wants_int(await (await client.get("tally")).add(1))
    return await result


class Thinker(agentd.Agent):
    @agentd.expose
    @agentd.readonly
    def look(self) -> str:
        call = agentd.current_call()
        return call.trace_id if call is not None and not call.cancelled else ""

    @agentd.expose
    @agentd.idempotent
    async def think(self, n: int) -> int:
        return n


async def think() -> int:
    wants_str(Thinker(to_dist=True).look())
    return await Thinker(to_dist=True).think(3)


# -- files ----------------------------------------------------------------------------------------


class Filer(agentd.Agent):
    def report(self, name: str) -> agentd.File:
        return agentd.File(name)

    def take(self, file: agentd.File) -> bytes:
        with open(file, "rb") as opened:  # noqa: PTH123 - as users write it
            return opened.read()


def wants_path(path: Path) -> None: ...
def tell(done: int, size: int) -> None: ...


filer = Filer(to_dist=True)
file = filer.report("report.pdf")
wants_str(file.name)
wants_int(file.size)
wants_path(file.path)
wants_path(file.save())
wants_path(file.save("here", progress=tell, timeout=10))
wants_path(file.save(Path("here"), progress=print))
wants_str(os.fspath(file))
wants_path(Path(file))
filer.take(file)


async def save(file: agentd.File) -> Path:
    return await file.asave("here", tell)
