"""``agentd.host``: classes and objects that are not ours."""

import array
import collections
import dataclasses
import decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import pydantic
import pytest

import agentd
from tests.integration.agents import Plain


class Model(pydantic.BaseModel):
    name: str
    tags: list[str] = []

    def greet(self, more: str = "") -> str:
        return f"{self.name}{more} {len(self.tags)}"

    def tag(self, word: str) -> int:
        self.tags.append(word)
        return len(self.tags)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int
    y: int = 2

    def total(self) -> int:
        return self.x + self.y


@final
class Final:
    def __init__(self, x: int) -> None:
        self.x = x

    def double(self) -> int:
        return 2 * self.x


class Slots:
    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x

    def double(self) -> int:
        return 2 * self.x


class Registering(type):
    """A framework's metaclass, with a ``__call__`` of its own."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made.registered = True
        return made


class Registered(metaclass=Registering):
    registered = False

    def __init__(self, x: int) -> None:
        self.x = x
        self.early = self.registered

    def double(self) -> int:
        return 2 * self.x


class Callable_:
    def __init__(self, x: int) -> None:
        self.x = x

    def __call__(self, y: int) -> int:
        return self.x + y


class Names(dict):  # type: ignore[type-arg]
    def longest(self) -> str:
        return max(self, key=len)


T = TypeVar("T")


class Typed(Generic[T]):
    def __init__(self, x: T) -> None:
        self.x = x

    def get(self) -> T:
        return self.x


@pytest.fixture
def conf(shared):
    return {"endpoint": shared.endpoint}


@pytest.mark.parametrize(
    ("cls", "args", "use", "value"),
    [
        (Model, {"name": "m", "tags": ["t"]}, lambda a: a.greet(more="!"), "m! 1"),
        (Frozen, {"x": 1}, lambda a: a.total(), 3),
        (Final, {"x": 2}, lambda a: a.double(), 4),
        (Slots, {"x": 2}, lambda a: a.double(), 4),
        (Registered, {"x": 2}, lambda a: (a.double(), a.registered, a.early), (4, True, False)),
        (Callable_, {"x": 2}, lambda a: a(3), 5),
        (Names, {"a": 1, "bcd": 2}, lambda a: (a.longest(), a["a"], len(a)), ("bcd", 1, 2)),
        (Typed, {"x": 2}, lambda a: a.get(), 2),
        (Plain, {"base": 1}, lambda a: a.greet(), "plain 1"),
        (collections.Counter, {"a": 2}, lambda a: (a.most_common(), a["b"]), ([("a", 2)], 0)),
    ],
)
def test_any_class_and_any_object(conf, cls, args, use, value):
    hosted = agentd.host(cls)(**args, to_dist=conf)
    assert type(hosted) is not cls
    assert isinstance(hosted, cls)
    assert use(hosted) == value
    moved = agentd.host(cls(**args)).to_dist(conf)
    assert type(moved) is not cls
    assert isinstance(moved, cls)
    assert use(moved) == value
    here = agentd.host(cls)(**args, to_dist=False)
    assert type(here) is cls
    assert use(here) == value
    assert type(agentd.host(cls)(**args)) is cls
    obj = cls(**args)
    assert agentd.host(obj).to_dist(False) is obj


@pytest.mark.parametrize(
    ("obj", "use", "value"),
    [
        (array.array("i", [1, 2, 3]), lambda a: (a.count(2), len(a)), (1, 3)),
        (decimal.Decimal("1.5"), lambda a: a.sqrt(), decimal.Decimal("1.5").sqrt()),
        (collections.deque([1, 2]), lambda a: (a.append(3), len(a))[1], 3),
    ],
)
def test_objects_of_c_types(conf, obj, use, value):
    assert use(agentd.host(obj).to_dist(conf)) == value


def test_state_stays_with_the_agent(conf):
    model = agentd.host(Model)(name="m", to_dist=conf)
    assert [model.tag(word) for word in "abc"] == [1, 2, 3]
    model.name = "other"
    assert (model.greet(), model.tags) == ("other 3", ["a", "b", "c"])
    kept = agentd.host(Model(name="k", tags=["x"])).to_dist(conf)
    assert kept.tag("y") == 2
    assert kept.greet.submit().result() == "k 2"


def test_what_a_wrong_argument_raises_is_the_classs_own(conf):
    with pytest.raises(agentd.errors.AgentCreationError) as caught:
        agentd.host(Model)(name=[], to_dist=conf).greet()
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def test_what_cannot_travel_is_told_before_anything_is_sent(conf):
    with Path(__file__).open() as file, pytest.raises(agentd.errors.SerializationError):
        agentd.host(file).to_dist(conf)
