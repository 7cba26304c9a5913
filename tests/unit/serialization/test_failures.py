"""Exceptions come home as they were raised."""

import asyncio
import threading
import traceback
import types

import pytest

from agentd.errors import AgentCrashed, RemoteError
from agentd.serialization import decode, decode_error, encode, encode_error
from agentd.serialization.reports import REMOTE_TRACEBACK


class CustomError(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"code {code}")
        self.code = code
        self.detail = detail


class NoSuperError(Exception):
    def __init__(self, a, b):
        self.a = a
        self.b = b


class SlotsError(Exception):
    __slots__ = ("part",)


class ReducedError(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

    def __reduce__(self):
        return ReducedError, (self.args[0], self.b + 1)


class StateError(Exception):
    def __getstate__(self):
        return {"kept": 1}


class FileError(FileNotFoundError):
    def __init__(self, path):
        super().__init__(2, "gone", path)


def through(exc):
    facts, payload = encode_error(exc)
    return decode_error(facts, *payload)


def raised(function, *args):
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


FIELDS = [
    (ValueError("a", 1), ()),
    (KeyError("k"), ()),
    (CustomError(3, detail=[1]), ("code", "detail")),
    (NoSuperError(1, 2), ("a", "b")),
    (OSError(2, "text", "file", None, "file2"), ("errno", "strerror", "filename", "filename2")),
    (raised(open, "/no/such/file"), ("errno", "strerror", "filename")),
    (FileError("/x"), ("errno", "filename")),
    (UnicodeDecodeError("utf8", b"\xff", 0, 1, "bad"), ("encoding", "object", "start", "reason")),
    (UnicodeEncodeError("ascii", "é", 0, 1, "bad"), ("encoding", "object", "end", "reason")),
    (StopIteration(7), ("value",)),
    (SystemExit(3), ("code",)),
    (ImportError("m", name="n", path="p"), ("msg", "name", "path")),
    (raised(lambda: undefined_name), ("name",)),  # noqa: F821
    (raised(lambda: object().nothing), ("name",)),
    (SyntaxError("m", ("f", 1, 2, "text")), ("msg", "filename", "lineno", "offset", "text")),
    (asyncio.CancelledError(), ()),
    (KeyboardInterrupt(), ()),
    (AgentCrashed("m", agent="a", exit_code=3), ("agent", "exit_code", "facts", "message")),
    (RemoteError("m", type_name="t", traceback="tb"), ("type_name", "traceback")),
]


@pytest.mark.parametrize(("exc", "names"), FIELDS, ids=lambda item: type(item).__name__)
def test_type_args_and_fields(exc, names):
    for back in (through(exc), decode(*encode(exc)), decode(*encode([{"e": exc}]))[0]["e"]):
        assert type(back) is type(exc)
        assert back.args == exc.args
        assert str(back) == str(exc)
        for name in names:
            assert getattr(back, name) == getattr(exc, name)


def test_slots_reduce_and_getstate():
    exc = SlotsError("m")
    exc.part = 3
    exc.other = 4
    back = through(exc)
    assert (back.part, back.other, back.args) == (3, 4, ("m",))
    assert through(ReducedError("a", 1)).b == 2
    assert through(StateError("m")).__dict__["kept"] == 1


def _chain():
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise CustomError(1, detail=None) from first
    except CustomError:
        raise RuntimeError("last")  # noqa: B904


def test_the_chain_and_notes():
    exc = raised(_chain)
    exc.add_note("mine")
    back = through(exc)
    assert type(back) is RuntimeError
    assert type(back.__context__) is CustomError
    assert back.__cause__ is None
    assert not back.__suppress_context__
    assert type(back.__context__.__cause__) is KeyError
    assert back.__context__.__suppress_context__
    assert back.__notes__[0] == "mine"


def test_the_chain_of_a_class_with_its_own_reduce():
    exc = ReducedError("a", 1)
    exc.__cause__ = ValueError("c")
    exc.add_note("kept")
    assert through(exc).__cause__.args == ("c",)


def test_groups():
    inner = ExceptionGroup("in", [ValueError(1), CustomError(2, detail="d")])
    group = ExceptionGroup("out", [inner, TypeError("t")])
    group.extra = 1
    back = through(group)
    assert (back.message, back.extra) == ("out", 1)
    assert back.exceptions[0].message == "in"
    assert back.exceptions[0].exceptions[1].detail == "d"
    assert type(through(BaseExceptionGroup("b", [KeyboardInterrupt()]))) is BaseExceptionGroup


def test_cycles_of_exceptions():
    one, two = ValueError(1), ValueError(2)
    one.__context__, two.__context__ = two, one
    back = through(one)
    assert back.__context__.__context__ is back
    group = ExceptionGroup("g", [ValueError(1)])
    group.exceptions[0].__context__ = group
    back = through(group)
    assert back.exceptions[0].args == (1,)
    assert back.exceptions[0].__context__ is back
    loop = ReducedError("a", 1)
    loop.__cause__ = ExceptionGroup("g", [loop])
    back = through(loop)
    assert back.__cause__.exceptions[0] is back


def test_what_cannot_travel_becomes_text():
    lock = threading.Lock()
    exc = CustomError(1, detail=lock)
    exc.fine = [1]
    exc.__cause__ = ValueError("args", lock)
    for back in (through(exc), decode(*encode((exc,)))[0]):
        assert back.detail == repr(lock)
        assert (back.code, back.fine) == (1, [1])
        assert back.__cause__.args == ("args", repr(lock))
        assert type(back) is CustomError
    member = through(ExceptionGroup("g", [exc])).exceptions[0]
    assert member.detail == repr(lock)


def test_a_repr_that_fails_is_no_obstacle():
    class Bad:
        def __reduce__(self):
            raise TypeError("no")

        __repr__ = __reduce__

    assert "Bad" in through(CustomError(1, detail=Bad())).detail


def test_facts():
    exc = raised(_chain)
    facts, _ = encode_error(exc)
    assert facts["type_name"] == "RuntimeError"
    assert facts["message"] == "last"
    assert "KeyError: 'first'" in facts["traceback"]
    assert "in _chain" in facts["traceback"]
    assert encode_error(CustomError(1, detail=0))[0]["type_name"] == f"{__name__}.CustomError"


def test_facts_fit_in_a_header():
    def deep(n):
        try:
            if n:
                deep(n - 1)
            raise ValueError("é" * 30_000)
        except (ValueError, KeyError) as exc:
            raise KeyError(n) from exc

    facts, _ = encode_error(raised(deep, 30))
    assert len(facts["traceback"].encode()) < 34_000
    assert "left out" in facts["traceback"]
    assert facts["traceback"].endswith("KeyError: 30")
    facts, payload = encode_error(ValueError("é" * 10_000))
    assert len(facts["message"].encode()) < 5_000
    assert len(str(decode_error(facts, *payload))) == 10_000


def test_a_str_that_fails_is_no_obstacle():
    class BadError(Exception):
        def __str__(self):
            raise ValueError("no text")

    facts, payload = encode_error(BadError("x"))
    assert "could not" in facts["message"]
    assert type(decode_error(facts, *payload)) is BadError


def test_the_remote_traceback_shows_once_however_many_hops():
    def hop(exc):
        try:
            raise exc
        except BaseException as again:
            return through(again)

    exc = hop(hop(hop(ValueError("far"))))
    text = "".join(traceback.format_exception(exc))
    notes = [note for note in exc.__notes__ if note.startswith(REMOTE_TRACEBACK)]
    assert len(notes) == 1
    assert text.count(REMOTE_TRACEBACK) == 3  # Three hops, each once.


def test_an_unknown_type_is_a_remote_error():
    facts = {"type_name": "far.away.Error", "message": "m", "traceback": "Traceback ...\nx"}
    for arguments in ((None, b"", []), ("pickle", b"garbage", []), ("dill:3.99", b"", [])):
        error = decode_error(facts, *arguments)
        assert type(error) is RemoteError
        assert (error.type_name, error.traceback) == ("far.away.Error", facts["traceback"])
        assert str(error) == "far.away.Error: m"
        assert any(REMOTE_TRACEBACK in note for note in error.__notes__)
    facts, payload = encode_error(ValueError("m"))
    assert type(decode_error(facts, *payload, data_only=True)) is RemoteError
    facts, _ = encode_error(raised(_chain))
    assert "KeyError: 'first'" in decode_error(facts, None, b"", []).traceback


def test_decode_error_survives_malformed_facts():
    assert type(decode_error({}, None, b"", [])) is RemoteError
    assert type(decode_error({}, *encode("no exception"))) is RemoteError


def test_a_type_by_value_comes_home_as_the_original(receiver):
    cell = types.ModuleType("__main__")
    exec(
        "class MyError(Exception):\n"
        "    def __init__(self, a, *, b): super().__init__(a); self.b = b\n"
        "class Agent:\n    def fail(self): raise MyError(1, b=2)",
        cell.__dict__,
    )
    receiver.put(encode(cell.Agent()))
    receiver.put(encode(cell.MyError), "error")
    back = receiver.ask("error(1, b=2)")
    with pytest.raises(cell.MyError) as caught:
        raise back
    assert caught.value.b == 2
