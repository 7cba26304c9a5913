"""Rarer kinds of classes and functions by value, in another process."""

import collections.abc
import contextlib
import contextvars
import dataclasses
import enum
import functools
import logging
import os
import re
import threading
import typing

import pytest

from agentd.errors import SerializationError
from agentd.serialization import decode, encode

T = typing.TypeVar("T")
LOG = logging.getLogger("odd")
PATTERN = re.compile("a+")
LOCAL = threading.local()
LOCK = threading.Lock()
VAR = contextvars.ContextVar("VAR", default=7)
REGISTRY = {}


@dataclasses.dataclass
class Node(typing.Generic[T]):
    value: T
    next: typing.Optional["Node[T]"] = None
    scale: dataclasses.InitVar[int] = 1
    total: typing.ClassVar[int] = 5

    def __post_init__(self, scale):
        self.value *= scale


@dataclasses.dataclass(slots=True)
class SlotsBase:
    a: int

    def get(self):
        return self.a


@dataclasses.dataclass(slots=True)
class SlotsChild(SlotsBase):
    b: int

    def get(self):
        return super(SlotsChild, self).get() + self.b


class Hooked(dict):
    made: typing.ClassVar[list] = []

    def __init_subclass__(cls, /, name, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.made.append(name)


class HookedChild(Hooked, name="child"):
    def get_made(self):
        return type(self).made


class WithDict:
    pass


class HookedDict(WithDict):
    def __init_subclass__(cls, /, name, **kwargs):
        raise AssertionError("ran again")


HookedDictChild = type.__new__(type, "Bare", (WithDict,), {"__qualname__": "HookedDictChild"})
HookedDictChild.__bases__ = (HookedDict,)


class Named:
    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner=None):
        return self if instance is None else f"got {self.name}"


class HasNamed:
    field = Named()


class Coordinate(bytes, enum.Enum):
    def __new__(cls, value, label):
        obj = bytes.__new__(cls, [value])
        obj._value_ = value
        obj.label = label
        return obj

    PX = (0, "P.X")
    PY = (1, "P.Y")


class Bits(enum.IntFlag):
    A = 1
    B = 2
    AB = 3


class Boxed(typing.NamedTuple, typing.Generic[T]):
    item: T


class Meta(type):
    def __getattr__(cls, name):
        return f"meta {name}"

    def __len__(cls):
        return 0


class ByMeta(metaclass=Meta):
    pass


class Text(str):
    __slots__ = ()

    def loud(self):
        return self.upper()


class Counts(collections.abc.Mapping):
    def __getitem__(self, key):
        return len(key)

    def __iter__(self):
        return iter("ab")

    def __len__(self):
        return 2


class Single:
    instance = None

    @classmethod
    def get(cls):
        return cls.instance


Single.instance = Single()
ONE = Single()


def one():
    return type(ONE) is Single


@functools.total_ordering
class Ordered:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x

    def __lt__(self, other):
        return self.x < other.x

    half = functools.partialmethod(lambda self, by: self.x / by, 2)

    @functools.singledispatchmethod
    def kind(self, arg):
        return "any"

    @kind.register
    def _(self, arg: int):
        return "int"

    def __class_getitem__(cls, item):
        return ("item", item)


@contextlib.contextmanager
def managed(x):
    yield x + 1


class Async:
    async def work(self):
        return [x async for x in self.items()]

    async def items(self):
        yield 1


def uses_globals():
    LOG.debug("x")
    LOCAL.x = 1
    with LOCK:
        return bool(PATTERN.match("aaa")) and VAR.get() == 7 and LOCAL.x


def register(function):
    REGISTRY[function.__name__] = function
    return function


@register
def registered():
    return sorted(REGISTRY)


def local_classes():
    class A:
        def who(self):
            return "A"

    class B(A):
        def who(self):
            return super().who() + "B"

    return B()


class Private:
    def __init__(self):
        self.__x = 1

    def __hidden(self):
        return self.__x

    def get(self):
        return self.__hidden()


CASES = [
    (Node(2, scale=3), "(v.value, v.next, v.total, type(v)(1, scale=2).value)", (6, None, 5, 2)),
    (Node(1, Node(2)), "type(v.next) is type(v) and v == type(v)(1, type(v)(2))", True),
    (SlotsChild(1, 2), "(v.get(), hasattr(v, '__dict__'))", (3, False)),
    (HookedChild(a=1), "(dict(v), v.get_made())", ({"a": 1}, ["child"])),
    (
        HookedDictChild(),
        "[b.__name__ for b in type(v).__mro__ if b.__name__[0] != '_'][1:3]",
        ["HookedDict", "WithDict"],
    ),
    (HasNamed(), "v.field", "got field"),
    (Coordinate.PY, "(v.label, v == b'\\x01', type(v)(0).label)", ("P.Y", True, "P.X")),
    (Bits.A | Bits.B, "(v.name, v == 3, type(v).A in v)", ("AB", True, True)),
    (Boxed(3), "(v.item, v == (3,))", (3, True)),
    (ByMeta(), "(type(v).anything, len(type(v)))", ("meta anything", 0)),
    (Text("ab"), "(v.loud(), v == 'ab')", ("AB", True)),
    (Counts(), "dict(v)", {"a": 1, "b": 1}),
    (Single(), "type(v.get()) is type(v)", True),
    (one, "v()", True),
    (
        Ordered(4),
        "(v >= type(v)(3), v.half(), v.kind(1), v.kind(''), type(v)[3])",
        (True, 2.0, "int", "any", ("item", 3)),
    ),
    (managed, "v(1).__enter__()", 2),
    (Async(), "__import__('asyncio').run(v.work())", [1]),
    (uses_globals, "v()", 1),
    (registered, "v()", ["registered"]),
    (local_classes(), "v.who()", "AB"),
    (Private(), "v.get()", 1),
    (functools.partial(Ordered, x=3), "v().x", 3),
    (Ordered(3).kind, "v(3)", "int"),
    ([Ordered(1).__lt__, Ordered.__lt__], "len(v)", 2),
    (Node | None, "v.__args__[0].__name__", "Node"),
    (list[Node], "v.__args__[0].__name__", "Node"),
    ({"a": [Node, {Node: 1}]}, "list(v['a'][1])[0] is v['a'][0]", True),
    (property(lambda self: 1), "v.fget(0)", 1),
]


@pytest.mark.parametrize(("value", "question", "answer"), CASES)
def test_it_works_in_another_process(receiver, value, question, answer):
    receiver.put(encode(value))
    assert receiver.ask(question) == answer


class Equal(type):
    __hash__ = None

    def __eq__(cls, other):
        return True


class Strange(metaclass=Equal):
    pass


def test_what_python_itself_cannot_pickle_is_an_error_of_ours():
    with pytest.raises(SerializationError):
        encode(Strange())


def test_a_child_made_by_fork_makes_its_own_ids():
    import types

    def fresh():
        cell = types.ModuleType("__main__")
        exec("class Agent:\n    pass", cell.__dict__)
        return cell.Agent

    before = fresh()
    encode(before)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        payload = encode(fresh())
        os.write(write, payload.head)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        head = stream.read()
    os.waitpid(pid, 0)
    mine = fresh()
    encode(mine)
    theirs = decode(encode(mine).codec, head, [])
    assert theirs is not mine
    assert theirs is not before
