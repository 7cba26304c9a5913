"""Classes that the peer cannot import: every common kind works there, with one identity."""

import abc
import dataclasses
import enum
import functools
import threading
import types
import typing

import pytest

from agentd.serialization import decode, encode, encode_object, encode_spec

LOCK = threading.Lock()
FACTOR = 3
T = typing.TypeVar("T")
UserId = typing.NewType("UserId", int)


def helper(x):
    return x * FACTOR


class Plain:
    shared = 7

    def __init__(self, x):
        self.x = x

    def tripled(self):
        return helper(self.x)

    @property
    def half(self):
        return self.x / 2

    @half.setter
    def half(self, value):
        self.x = value * 2

    @staticmethod
    def static():
        return "static"

    @classmethod
    def make(cls, x):
        return cls(x)

    @functools.cached_property
    def cached(self):
        return [self.x]

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def remembered(self):
        return self.x + 1

    def locked(self):
        with LOCK:
            return True


class Child(Plain):
    def __init__(self, x, y):
        super().__init__(x)
        self.y = y

    def tripled(self):
        return super().tripled() + self.y


class Slotted:
    __slots__ = ("__weakref__", "_hidden", "a")

    def __init__(self, a):
        self.a = a
        self._hidden = a + 1


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2
    tags: list = dataclasses.field(default_factory=list, metadata={"unit": "m"})


@dataclasses.dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Frozen:
    a: int
    b: str = "b"

    def twice(self):
        return dataclasses.replace(self, a=self.a * 2)


class Color(enum.Enum):
    RED = 1
    GREEN = (2, 3)
    ALIAS = 1  # noqa: PIE796

    def lower(self):
        return self.name.lower()


class Planet(enum.Enum):
    EARTH = (5.9, 6.3)
    MARS = (0.6, 3.3)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Name(enum.StrEnum):
    ONE = enum.auto()


class Pair(typing.NamedTuple):
    left: int
    right: str = "r"

    def joined(self):
        return f"{self.left}{self.right}"


class Base(abc.ABC):
    @abc.abstractmethod
    def work(self): ...

    @property
    @abc.abstractmethod
    def name(self): ...


class Worker(Base):
    def work(self):
        return "worked"

    @property
    def name(self):
        return "n"


@Base.register
class Virtual:
    pass


class Box(typing.Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


class IntBox(Box[int]):
    pass


@typing.runtime_checkable
class Speaks(typing.Protocol):
    def speak(self) -> str: ...


class Dog:
    def speak(self):
        return "woof"


class Movie(typing.TypedDict, total=False):
    title: str


class Outer:
    class Inner:
        def outer(self):
            return Outer

    def make(self):
        return self.Inner()


class Meta(abc.ABCMeta):
    made: typing.ClassVar[list] = []

    def __new__(mcls, name, bases, namespace, *, tag="none"):
        cls = super().__new__(mcls, name, bases, namespace)
        cls.tag = tag
        mcls.made.append(name)
        return cls

    def __call__(cls, *args):
        made = super().__call__(*args)
        made.by_meta = True
        return made


class WithMeta(metaclass=Meta, tag="mine"):
    pass


class Plugin:
    registry: typing.ClassVar[dict] = {}

    def __init_subclass__(cls, *, key, **kwargs):
        super().__init_subclass__(**kwargs)
        Plugin.registry[key] = cls


class PluginA(Plugin, key="a"):
    pass


class Ping:
    def other(self):
        return Pong()


class Pong:
    def other(self):
        return Ping()


class WeirdError(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"code {code}")
        self.code = code
        self.detail = detail


class Unhashable(type):
    __hash__ = None

    def __eq__(cls, other):
        return True


class Odd(metaclass=Unhashable):
    pass


QUESTIONS = [
    (Plain(4), "v.tripled()", 12),
    (Plain(4), "v.half", 2.0),
    (Plain(4), "[setattr(v, 'half', 5), v.x][1]", 10),
    (Plain(4), "type(v).static() + str(type(v).make(3).x)", "static3"),
    (Plain(4), "v.cached + [v.cached is v.cached]", [4, True]),
    (Plain(4), "v.remembered() + v.remembered.cache_info().hits", 5),
    (Plain(4), "v.locked()", True),
    (Plain(4), "(type(v).__module__, type(v).__qualname__)", (__name__, "Plain")),
    (Child(1, 2), "v.tripled() + v.shared", 12),
    (Child(1, 2), "[b.__name__ for b in type(v).__mro__]", ["Child", "Plain", "object"]),
    (Slotted(1), "(v.a, v._hidden, hasattr(v, '__dict__'))", (1, 2, False)),
    (Point(1), "__import__('dataclasses').asdict(v)", {"x": 1, "y": 2, "tags": []}),
    (Point(1), "__import__('dataclasses').replace(v, x=5).x", 5),
    (Point(1), "[f.name for f in __import__('dataclasses').fields(v)]", ["x", "y", "tags"]),
    (Point(1), "dict(__import__('dataclasses').fields(v)[2].metadata)", {"unit": "m"}),
    (Point(1), "type(v)(1, tags=[2]) == type(v)(1, 2, [2]) and type(v)(0).tags", []),
    (Point(1), "repr(v)", "Point(x=1, y=2, tags=[])"),
    (Frozen(a=1), "(v.twice().a, v < v.twice(), hash(v) == hash(type(v)(a=1)))", (2, True, True)),
    (Color.RED, "(v is type(v).RED, v.lower(), type(v)((2, 3)).name)", (True, "red", "GREEN")),
    (Color.RED, "(type(v).ALIAS is v, len(type(v)), type(v)['GREEN'].value)", (True, 2, (2, 3))),
    (Color.RED, "[m.name for m in type(v)]", ["RED", "GREEN"]),
    (Color.RED, "__import__('copy').copy(v) is v and v == type(v).RED and v in type(v)", True),
    (Planet.MARS, "(v.mass, type(v)((5.9, 6.3)).radius)", (0.6, 6.3)),
    (
        Level.HIGH,
        "(v + 1, v > type(v).LOW, type(v)(1).name, isinstance(v, int))",
        (3, True, "LOW", True),
    ),
    (
        Mode.READ | Mode.WRITE,
        "(v.value, type(v).READ in v, (v & type(v).READ).name)",
        (3, True, "READ"),
    ),
    (Mode.READ, "(v | type(v).WRITE).value + len(list(~v))", 4),
    (Name.ONE, "(v == 'one', v.upper(), f'{v}')", (True, "ONE", "one")),
    (
        Pair(1),
        "(v.joined(), v._replace(left=2)[0], v._fields, v == (1, 'r'))",
        ("1r", 2, ("left", "right"), True),
    ),
    (Worker(), "(v.work(), v.name, type(v).__abstractmethods__)", ("worked", "n", frozenset())),
    (Worker(), "sorted(type(v).__mro__[1].__abstractmethods__)", ["name", "work"]),
    ([Worker(), Virtual()], "isinstance(v[1], type(v[0]).__mro__[1])", True),
    (IntBox(3), "(v.item, type(v).__orig_bases__[0].__args__[0] is int)", (3, True)),
    (Box, "str(v[int].__args__) + v.__parameters__[0].__name__", "(<class 'int'>,)T"),
    ([Speaks, Dog(), Plain(1)], "(isinstance(v[1], v[0]), isinstance(v[2], v[0]))", (True, False)),
    (
        Movie,
        "(v(title='x'), v.__total__, list(v.__annotations__))",
        ({"title": "x"}, False, ["title"]),
    ),
    (Outer(), "v.make().outer() is type(v)", True),
    (
        WithMeta(),
        "(type(v).tag, v.by_meta, type(v)().by_meta, type(type(v)).__name__)",
        ("mine", True, True, "Meta"),
    ),
    (WithMeta, "type(v).made == ['WithMeta']", True),
    (PluginA(), "type(v).registry['a'] is type(v) and list(type(v).registry)", ["a"]),
    (Ping(), "type(v.other().other()) is type(v)", True),
    ([Odd], "type(v[0]).__name__", "Unhashable"),
    (UserId, "v(3)", 3),
    (T, "v.__name__", "T"),
    (Point, "v.__init__.__annotations__['x'] is int or v.__init__.__annotations__['x']", True),
]


@pytest.mark.parametrize(("value", "question", "answer"), QUESTIONS)
def test_a_class_by_value_works_in_another_process(receiver, value, question, answer):
    encoded = encode(value)
    assert encoded.codec.startswith("dill:3.")
    receiver.put(encoded)
    assert receiver.ask(question) == answer


def test_abstract_class_by_value_refuses_instances(receiver):
    receiver.put(encode(Base))
    with pytest.raises(AssertionError, match="abstract"):
        receiver.ask("v()")


def test_a_class_that_was_registered_stays_it_while_nobody_else_has_it(receiver_with_path):
    """An ABC itself refers weakly to what was registered."""
    receiver_with_path.put(encode(Base), "base")
    receiver_with_path.ask("__import__('gc').collect()")
    receiver_with_path.put(encode(Virtual()))
    assert receiver_with_path.ask("isinstance(v, base)")


def test_two_payloads_share_one_class(receiver):
    receiver.put(encode(Point(1)), "a")
    receiver.put(encode(Point(2)), "b")
    receiver.put(encode([Point]), "c")
    receiver.put(encode_spec(Point, (1,), {}), "d")
    assert receiver.ask("type(a) is type(b) is c[0] is d[0]")


def test_a_relative_sent_alone_is_the_same_class(receiver):
    receiver.put(encode(Ping()), "ping")
    receiver.put(encode(Pong()), "pong")
    assert receiver.ask("type(ping.other()) is type(pong) and type(pong.other()) is type(ping)")


def test_the_agents_class_and_an_arguments_class_are_one(receiver):
    class Agent:
        def check(self, value):
            return isinstance(value, Point)

    receiver.put(encode_object(Agent()), "agent")
    receiver.put(encode(Point(1)), "argument")
    assert receiver.ask("agent.check(argument)")


def test_what_comes_home_is_the_original_class(receiver):
    receiver.put(encode(Point(1)))
    home = receiver.ask("type(v)(5)")
    assert type(home) is Point
    assert home == Point(5)
    assert decode(*encode(Color.RED)) is Color.RED


def test_a_class_made_there_comes_home_as_an_original_after_a_second_hop(receiver):
    receiver.put(encode(Ping()))
    assert type(receiver.ask("v.other()")) is Pong


def _script(source, name="__main__", **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    exec(source, module.__dict__)
    return module


def test_same_name_different_bodies_do_not_mix(receiver):
    one = _script("class Agent:\n    def name(self): return 'one'")
    two = _script("class Agent:\n    def name(self): return 'two'")
    receiver.put(encode(one.Agent()), "one")
    receiver.put(encode(two.Agent()), "two")
    receiver.put(encode(one.Agent()), "again")
    assert receiver.ask("(one.name(), two.name(), again.name())") == ("one", "two", "one")
    assert receiver.ask("type(one) is type(again) is not type(two)")


def test_rebinding_a_global_gives_a_new_definition(receiver):
    source = (
        "def rate(): return 1\nLIMIT = 5\nclass Agent:\n    def ask(self): return rate() * LIMIT"
    )
    cell = _script(source)
    receiver.put(encode(cell.Agent()), "before")
    cell.LIMIT = 5  # Equal constants: a cell that was run again.
    receiver.put(encode(cell.Agent()), "same")
    exec("def rate(): return 10", cell.__dict__)
    receiver.put(encode(cell.Agent()), "after")
    cell.LIMIT = 6
    receiver.put(encode(cell.Agent()), "last")
    assert receiver.ask("type(before) is type(same) is not type(after)")
    assert receiver.ask("(before.ask(), after.ask(), last.ask())") == (5, 50, 60)


def test_rebinding_is_noticed_through_helpers_and_relatives(receiver):
    source = (
        "def deep(): return 1\n"
        "def rate(): return deep()\n"
        "class Part:\n    def value(self): return rate()\n"
        "class Agent:\n    def ask(self): return Part().value()"
    )
    cell = _script(source)
    receiver.put(encode(cell.Agent()), "before")
    exec("def deep(): return 2", cell.__dict__)
    receiver.put(encode(cell.Agent()), "after")
    assert receiver.ask("(before.ask(), after.ask())") == (1, 2)


def test_replacing_a_method_gives_a_new_definition(receiver):
    cell = _script("class Agent:\n    def ask(self): return 1")
    receiver.put(encode(cell.Agent()), "before")
    cell.Agent.ask = _script("def ask(self): return 2").ask
    receiver.put(encode(cell.Agent()), "after")
    assert receiver.ask("(before.ask(), after.ask())") == (1, 2)


def test_adding_a_method_gives_a_new_definition(receiver):
    cell = _script("class Agent:\n    def ask(self): return 1")
    receiver.put(encode(cell.Agent()), "before")
    cell.Agent.more = _script("def more(self): return 2").more
    receiver.put(encode(cell.Agent()), "after")
    assert receiver.ask("after.more()") == 2


def test_counting_in_a_class_attribute_is_no_new_definition(receiver):
    cell = _script("class Agent:\n    made = 0\n    def __init__(self): type(self).made += 1")
    receiver.put(encode(cell.Agent()), "before")
    receiver.put(encode(cell.Agent()), "after")
    assert receiver.ask("type(before) is type(after)")


def test_a_class_that_is_gone_is_not_kept_alive():
    import gc
    import weakref

    cell = _script("class Agent:\n    def ask(self): return Agent")
    encode(cell.Agent())
    gone = weakref.ref(cell.Agent)
    cell.__dict__.clear()
    gc.collect()
    assert gone() is None


def test_many_threads_make_and_build_one_class():
    source = "class Agent:\n    def ask(self): return 1"
    cell = _script(source)
    barrier = threading.Barrier(8)
    payloads = []

    def run():
        barrier.wait()
        payloads.append(encode(cell.Agent()))

    threads = [threading.Thread(target=run) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert {type(decode(*payload)) for payload in payloads} == {cell.Agent}


def test_a_broken_definition_leaves_no_half_built_class(receiver):
    class Fails:
        def __init__(self):
            self.ok = True

        def __reduce__(self):
            return _refuse, (receiver_pid,)

    import os

    receiver_pid = os.getpid()
    cell = _script("class Agent:\n    part = None\n    def ask(self): return part")
    cell.part = Fails()
    payload = encode(cell.Agent())
    for _ in range(2):
        with pytest.raises(AssertionError, match="only at home"):
            receiver.put(payload)


def _refuse(pid):
    import os

    if os.getpid() != pid:
        raise RuntimeError("only at home")
    return 0
