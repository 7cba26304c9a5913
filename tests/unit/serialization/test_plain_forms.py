"""Arrays, dataclasses and exceptions as plain data: they come back, what is hostile does not."""

import dataclasses
import datetime
import sys
import types

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.errors import CodecNotAllowed, DecodeError, RemoteError, SerializationError
from agentd.serialization import decode, decode_error, encode, encode_error, loaded


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    norm: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self):
        self.norm = abs(self.x) + abs(self.y)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    points: tuple[Point, ...]
    when: datetime.date


class Odd(ValueError):
    ran = 0

    def __init__(self, who, *, why):
        type(self).ran += 1
        super().__init__(f"{who}: {why}")
        self.who = who
        self.why = why


def there_and_back(value):
    encoded = encode(value, data_only=True)
    assert encoded.codec == "data"
    return decode(*encoded, data_only=True)


def read(code, content, buffers=()):
    return decode("data", msgpack.packb(msgpack.ExtType(code, msgpack.packb(content))), buffers)


# -- arrays ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(12, dtype="<i2").reshape(3, 4),
        numpy.arange(12.0).reshape(3, 4).T,
        numpy.arange(20)[::3],
        numpy.array(5),
        numpy.zeros((0, 3)),
        numpy.array([True, False]),
        numpy.array(["a", "bcd"]),
        numpy.array([b"a", b"bcd"]),
        numpy.array([1 + 2j]),
        numpy.array(["2026-01-01"], dtype="M8[D]"),
        numpy.array([3], dtype="m8[ns]"),
        numpy.arange(3, dtype=">f4"),
        numpy.arange(100_000),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays(array):
    back = there_and_back(array)
    assert type(back) is numpy.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert numpy.array_equal(back, array)
    assert back.flags.writeable


@pytest.mark.parametrize("value", [numpy.float64(1.5), numpy.int8(3), numpy.bool_(True)])
def test_numbers_of_numpy(value):
    back = there_and_back({"v": value})["v"]
    assert (type(back), back) == (type(value), value)


def test_big_arrays_go_as_buffers():
    assert [len(b) for b in encode(numpy.arange(100_000), data_only=True).buffers] == [800_000]


@pytest.mark.parametrize(
    "array",
    [numpy.array([object()]), numpy.zeros(2, dtype=[("a", "i4")])],
    ids=["objects", "records"],
)
def test_arrays_that_are_more_than_their_bytes(array):
    with pytest.raises(SerializationError, match=r"x\['a'\].*dtype"):
        encode({"a": array}, data_only=True, root="x")


@pytest.mark.parametrize(
    "content",
    [
        ["|O", [1], b"\0" * 8, False],
        ["O", [1], b"\0" * 8, False],
        ["<i4", [2], b"\0" * 7, False],
        ["<i4", [2], b"\0" * 9, False],
        ["<i4", [1 << 61], b"", False],
        ["<i4", [1 << 62, 4], b"", False],
        ["<i4", [-1], b"", False],
        ["<i4", [True], b"\0" * 4, False],
        ["<i4", [1] * 33, b"\0" * 4, False],
        ["<i4", "2", b"\0" * 8, False],
        ["<i4", [1], b"\0" * 4, True],
        ["<i4", [1], "text", False],
        ["<U0", [1 << 40], b"", False],
        ["S0", [1 << 40], b"", False],
        ["<i4,<i4", [1], b"\0" * 8, False],
        ["(1000000000,)<i4", [1], b"", False],
        ["[('a','O')]", [1], b"\0" * 8, False],
        ["<f4\n", [1], b"\0" * 4, False],
        [["<i4"], [1], b"\0" * 4, False],
        ["<i4", [1]],
        "<i4",
    ],
    ids=repr,
)
def test_hostile_arrays(content):
    with pytest.raises(DecodeError):
        read(16, content)


@given(
    st.text(max_size=8) | st.sampled_from(["<i4", "<f8", "|b1", "<U3", "<M8[s]", "|V8", "O"]),
    st.lists(st.integers(-1, 2**63), max_size=3),
    st.binary(max_size=64),
    st.booleans(),
)
def test_any_array_is_one_or_an_error(dtype, shape, content, scalar):
    try:
        found = read(16, [dtype, shape, content, scalar])
    except DecodeError:
        return
    assert found.nbytes == len(content)
    assert found.dtype.kind not in "OV"


# -- dataclasses -----------------------------------------------------------------------------------
def test_dataclasses():
    value = Frozen((Point(1.0, -2.0), Point(3.0)), datetime.date(2026, 1, 2))
    assert there_and_back(value) == value


def test_a_client_makes_them_without_running_their_code():
    back = read(17, [__name__, "Point", {"x": 1.0, "norm": 5.0}])
    assert (back.x, back.norm) == (1.0, 5.0)
    assert not hasattr(back, "y") or back.y == 0.0


@pytest.mark.parametrize(
    "content",
    [
        [__name__, "Odd", {}],
        [__name__, "Point", {"x": 1.0, "__class__": 2}],
        [__name__, "Point", {"z": 1.0}],
        [__name__, "Point.norm", {}],
        ["no.such.module", "Point", {}],
        ["os", "system", {}],
        ["agentd.config", "ServerConfig.__init__", {}],
        [__name__, "", {}],
        ["", "Point", {}],
        [__name__, "Point", []],
        [__name__, "Point"],
        [1, 2, {}],
    ],
    ids=repr,
)
def test_hostile_dataclasses(content):
    with pytest.raises(DecodeError):
        read(17, content)


def test_nothing_is_imported_or_run_to_find_a_class(monkeypatch):
    lazy = types.ModuleType("lazy_module")
    lazy.__getattr__ = lambda name: pytest.fail("code ran")
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    assert loaded("lazy_module", "Anything") is None
    assert loaded("xml.sax.handler_not_loaded", "X") is None
    assert "antigravity" not in sys.modules
    with pytest.raises(DecodeError, match="loaded"):
        read(17, ["antigravity", "Anything", {}])
    assert "antigravity" not in sys.modules


# -- exceptions ------------------------------------------------------------------------------------
def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def told(error, **options):
    facts, encoded = encode_error(error, data_only=True)
    assert encoded.codec == "data"
    return decode_error(facts, *encoded, data_only=True, **options)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 1),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        StopIteration(5),
        Odd("me", why=datetime.date(2026, 1, 1)),
        CodecNotAllowed("refused", codec="pickle"),
    ],
    ids=repr,
)
def test_exceptions(error):
    ran = Odd.ran
    back = told(raised(error))
    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))
    assert {n: v for n, v in vars(back).items() if n != "__notes__"} == vars(error)
    assert Odd.ran == ran, "its own __init__ does not run"
    assert "Remote traceback" in back.__notes__[-1]


def test_the_chain_and_groups():
    error = raised(ExceptionGroup("both", [ValueError(1), Odd("a", why="b")]), KeyError("root"))
    back = told(error)
    assert type(back) is ExceptionGroup
    assert [type(e) for e in back.exceptions] == [ValueError, Odd]
    assert back.exceptions[1].why == "b"
    assert type(back.__cause__) is KeyError
    assert back.__suppress_context__


def test_parts_without_a_form_become_text():
    error = ValueError(object, 1)
    error.lock = lambda: 1
    back = told(raised(error))
    assert back.args == ("<class 'object'>", 1)
    assert "<lambda>" in back.lock


def test_types_that_are_not_loaded_are_remote_errors():
    local = type("Local", (ValueError,), {"__module__": "not.loaded.anywhere"})
    back = told(raised(local("x"), local("y")))
    assert type(back) is RemoteError
    assert back.type_name == "not.loaded.anywhere.Local"
    assert "not.loaded.anywhere" not in sys.modules
    chained = told(raised(ValueError("x"), local("y")))
    assert type(chained.__cause__) is RemoteError


def form(**changes):
    plain = {"module": "builtins", "name": "ValueError", "make": [], "args": [], "attributes": {}}
    return {**plain, "suppress": False, **changes}


@pytest.mark.parametrize(
    "hostile",
    [
        form(module="os", name="system", make=["true"]),
        form(name="SystemExit"),
        form(name="KeyboardInterrupt"),
        form(name="eval", make=["1"]),
        form(name="object"),
        form(module=__name__, name="Point", make=[1]),
        form(name="ExceptionGroup", make=["x", []], group=[]),
        form(make=5),
        form(attributes=[1]),
        form(cause=7),
        {},
        [],
        "text",
        None,
    ],
    ids=repr,
)
def test_hostile_errors(hostile):
    facts = {"type_name": "T", "message": "m"}
    back = decode_error(facts, "data", msgpack.packb(hostile), [], data_only=True)
    assert type(back) is RemoteError
    assert str(back) == "T: m"


def test_attributes_take_the_place_of_nothing():
    names = {"add_note": 1, "with_traceback": 2, "__class__": 3, "args": 4, "fine": 5}
    back = decode_error({}, "data", msgpack.packb(form(attributes=names)), [], data_only=True)
    assert type(back) is ValueError
    assert vars(back) == {"fine": 5}
    back.add_note("works")
    assert back.args == ()


def test_a_built_in_type_that_was_made_of_nonsense_can_be_printed():
    hostile = form(name="UnicodeDecodeError", make=[1, 2])
    back = decode_error({}, "data", msgpack.packb(hostile), [], data_only=True)
    assert (type(back), str(back)) == (UnicodeDecodeError, "")


def test_a_pickle_in_place_of_an_error_is_not_read():
    back = decode_error(
        {"type_name": "T"}, "pickle", b"cos\nsystem\n(S'true'\ntR.", [], data_only=True
    )
    assert type(back) is RemoteError
    assert "plain data" in back.__notes__[0]
