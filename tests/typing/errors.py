"""Mistakes that a checker has to find. Nothing of this is run.

A line ends with the checkers that report it: ``# error: mypy pyright`` or only ``# error: mypy``
where pyright looks away (docs/typing.md says why). A line without a mark has to pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Self, TypeVar

import agentd

T = TypeVar("T")
P = ParamSpec("P")


class Counter(agentd.Agent):
    def __init__(self, n: int) -> None:
        self.n = n

    def add(self, k: int) -> int:
        self.n += k
        return self.n


@dataclass
class Point(agentd.Agent):
    x: int = 0


class Box(agentd.Agent, Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


class Plain(metaclass=agentd.RpcMeta):
    def __init__(self, n: int) -> None:
        self.n = n


def wants_str(value: str) -> None: ...


a = Counter(5, to_dist=True)
b = Counter(5).to_dist()

# -- the constructor ------------------------------------------------------------------------------
Counter("x")  # error: mypy pyright
Counter()  # error: mypy pyright
Counter(5, m=1)  # error: mypy pyright
Counter("x", to_dist=True)  # error: mypy
Counter(to_dist=True)  # error: mypy
Counter(5, 6, to_dist=True)  # error: mypy
Counter(5, m=1, to_dist=True)  # error: mypy
Counter(5, True)  # error: mypy pyright
Counter(5, to_dist=3)  # error: mypy pyright
Counter(5, to_dist=["ipc:///x"])  # error: mypy pyright
Counter(5, to_dit=True)  # error: mypy pyright
Point("x", to_dist=True)  # error: mypy
Plain("x", to_dist=True)  # error: mypy

# -- methods and attributes -----------------------------------------------------------------------
a.add("x")  # error: mypy pyright
a.nope()  # error: mypy pyright
a.n = "x"  # error: mypy pyright
b.add("x")  # error: mypy pyright
b.nope()  # error: mypy pyright
wants_str(a.add(1))  # error: mypy pyright
wants_str(b.add(1))  # error: mypy pyright
wants_str(a)  # error: mypy pyright
box: Box[int] = Box("a", to_dist=True)  # error: mypy

# -- options --------------------------------------------------------------------------------------
agentd.DistConf(nme="x")  # error: mypy pyright
agentd.DistConf(port="x")  # error: mypy pyright
agentd.DistConf(lifetime="forever")  # error: mypy pyright
Counter(5, to_dist=agentd.DistConf(nme="x"))  # error: mypy pyright
Counter(5, to_dist={"nme": "x"})  # error: mypy
Counter(5).to_dist(nme="x")  # error: mypy pyright
Counter(5).to_dist(port="x")  # error: mypy pyright
Plain(5).to_dist(nme="x")  # error: mypy pyright
Plain(5).to_dist().m()  # error: mypy pyright

# -- handles --------------------------------------------------------------------------------------
agentd.handle(a).nope()  # error: mypy pyright
agentd.handle(a).wait("soon")  # error: mypy pyright
agentd.connect(5)  # error: mypy pyright

# -- known limits: right, but reported (docs/typing.md has another way to write each) -------------
Box[str]("a", to_dist=True)  # error: mypy


def make(kind: type[Counter]) -> Counter:
    return kind(5, to_dist=True)  # error: mypy


class Runs(agentd.Agent):
    def __init__(self, func: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        func(*args, **kwargs)


Runs(wants_str, "x", to_dist=True)  # error: mypy


class Makes(Counter):
    @classmethod
    def far(cls) -> Self:
        return cls(5, to_dist=True)  # error: mypy


Plain(5).to_dist()  # error: pyright
Plain(5, to_dist=True).to_dist()  # error: pyright
