"""What an agent raises arrives as what it raised."""

from __future__ import annotations

import asyncio
import time
import traceback

import pytest

import agentd
from agentd.errors import DecodeError, RemoteError, SerializationError
from tests.integration.agents import Counter, Everything


class Refused(Exception):
    """Cannot be made from its ``args``."""

    def __init__(self, code, *, why):
        super().__init__(f"refused: {why}")
        self.code = code
        self.why = why


class WithSlots(Exception):
    __slots__ = ("extra",)


class Pickled(Exception):
    def __init__(self, a, b):
        super().__init__("made of two")
        self.a, self.b = a, b

    def __reduce__(self):
        return Pickled, (self.a, self.b)


class Raiser(agentd.Agent):
    def __init__(self):
        self.calls = 0

    def eval(self, text):
        self.calls += 1
        raise eval(text, {**globals(), "agent": self})

    def exec(self, text):
        exec(text, {**globals(), "agent": self})

    def returns(self, text):
        return eval(text)

    def outer(self):
        self.inner(0)

    def inner(self, n):
        return 1 / n

    def chain(self):
        try:
            self.inner(0)
        except ZeroDivisionError as error:
            raise Refused(4, why="zero") from error

    def context(self):
        try:
            self.inner(0)
        except ZeroDivisionError:
            raise KeyError("during")  # noqa: B904

    def local_type(self):
        class Inner(LookupError):
            pass

        raise Inner("of a function")

    def takes(self, a, b=2, *, c):
        return a, b, c

    def state(self):
        return self.calls


@pytest.fixture(scope="module")
def raiser():
    return Raiser(to_dist=True)


@pytest.mark.parametrize(
    "text",
    [
        "ValueError()",
        "ValueError('a', 1, None)",
        "KeyError('k')",
        "OSError(2, 'gone', 'file')",
        "FileNotFoundError(2, 'gone', 'a', None, 'b')",
        "UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')",
        "StopIteration(5)",
        "AttributeError('no', name='n')",
        "ImportError('no', name='n', path='p')",
        "SystemExit(3)",
        "KeyboardInterrupt('key')",
        "GeneratorExit()",
        "BaseException(1)",
        "asyncio.CancelledError()",
        "TimeoutError('late')",
        "AssertionError()",
        "SyntaxError('bad', ('f', 1, 2, 'text'))",
        "Refused(7, why='because')",
        "Pickled(1, 2)",
        "agentd.errors.AgentNotFound('our own', agent='x')",
        "agentd.errors.CallTimeout('our own', timeout=3.0)",
        "SerializationError('our own')",
    ],
)
def test_type_args_and_attributes(raiser, text):
    expected = eval(text)
    with pytest.raises(type(expected)) as caught:
        raiser.eval(text)
    found = caught.value
    assert type(found) is type(expected)
    assert found.args == expected.args
    assert str(found) == str(expected)
    for name, value in vars(expected).items():
        assert getattr(found, name) == value
    for name in ("errno", "filename", "filename2", "code", "value", "name", "path", "start", "msg"):
        assert getattr(found, name, None) == getattr(expected, name, None)


def test_the_agent_lives_on_after_exit_and_interrupt(raiser):
    calls = raiser.state()
    for text, kind in (("SystemExit(1)", SystemExit), ("KeyboardInterrupt()", KeyboardInterrupt)):
        with pytest.raises(kind):
            raiser.eval(text)
    assert raiser.state() == calls + 2


def test_slots_of_an_exception(raiser):
    with pytest.raises(WithSlots) as caught:
        raiser.exec("e = WithSlots(1); e.extra = 'more'; raise e")
    assert caught.value.extra == "more"


def test_cause_and_its_attributes(raiser):
    with pytest.raises(Refused, match="refused: zero") as caught:
        raiser.chain()
    assert (caught.value.code, caught.value.why) == (4, "zero")
    assert type(caught.value.__cause__) is ZeroDivisionError
    assert caught.value.__cause__.args == ("division by zero",)


def test_context(raiser):
    with pytest.raises(KeyError) as caught:
        raiser.context()
    text = "".join(traceback.format_exception(caught.value))
    assert "ZeroDivisionError" in text
    assert "During handling of the above exception" in text


def test_notes(raiser):
    with pytest.raises(ValueError, match="x") as caught:
        raiser.exec("e = ValueError('x'); e.add_note('first'); e.add_note('second'); raise e")
    text = "".join(traceback.format_exception(caught.value))
    assert caught.value.__notes__[:2] == ["first", "second"]
    assert "first" in text
    assert "second" in text


def test_groups(raiser):
    with pytest.raises(ExceptionGroup) as caught:
        raiser.eval(
            "ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [Refused(2, why='w')])])"
        )
    group = caught.value
    assert group.message == "g"
    assert group.exceptions[0].args == (1,)
    assert group.exceptions[1].exceptions[0].code == 2
    assert group.split(Refused)[0].message == "g"


def test_the_remote_traceback_is_readable_in_the_local_one(raiser):
    # When
    with pytest.raises(ZeroDivisionError) as caught:
        raiser.outer()
    text = "".join(traceback.format_exception(caught.value))
    # Then
    assert "test_exceptions.py" in text
    assert "in outer" in text
    assert "self.inner(0)" in text
    assert "in inner" in text
    assert "return 1 / n" in text
    assert text.count("ZeroDivisionError") >= 1
    assert "agentd/worker" not in text  # the agent's code, not ours


def test_the_same_exception_raised_twice_has_its_own_traceback(raiser):
    texts = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            raiser.outer()
        texts.append("".join(traceback.format_exception(caught.value)))
    assert texts[0].count("in inner") == texts[1].count("in inner")


def test_a_type_defined_in_a_function(raiser):
    with pytest.raises((LookupError, RemoteError), match="of a function"):
        raiser.local_type()


FOREIGN = """
class Strange(ValueError):
    def __init__(self, x):
        super().__init__("strange " + str(x))
        self.x = x
class Part:
    pass
class Agent:
    def __init__(self, fail=False):
        if fail:
            raise Strange("init")
        self.value = 1
    def boom(self, x):
        try:
            raise KeyError("first")
        except KeyError as error:
            raise Strange(x) from error
    def part(self):
        return Part()
    def __len__(self):
        return 42
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, request):
    """A daemon that can import a module which this process cannot."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "only_over_there.py").write_text(FOREIGN)
    installed = folder / "site-packages"  # what is installed travels by name alone
    installed.mkdir()
    (installed / "installed_there.py").write_text(FOREIGN)
    from tests.integration.conftest import _RUN, Daemon

    daemon = Daemon(f"ipc://{_RUN}/foreign.sock", path=(str(folder), str(installed)))
    yield daemon
    daemon.stop()


def test_a_type_that_is_not_known_here(foreign):
    agent = foreign.client.create("installed_there:Agent")
    with pytest.raises(RemoteError, match="strange 5") as caught:
        agent.boom(5)
    assert caught.value.type_name == "installed_there.Strange"
    assert "raise Strange(x) from error" in caught.value.traceback
    text = "".join(traceback.format_exception(caught.value))
    assert "installed_there.py" in text
    assert "KeyError" in text


def test_a_type_of_a_folder_that_only_the_daemon_has_comes_along(foreign):
    agent = foreign.client.create("only_over_there:Agent")
    with pytest.raises(ValueError, match="strange 5") as caught:  # its base
        agent.boom(5)
    assert type(caught.value).__qualname__ == "Strange"
    assert caught.value.x == 5
    assert type(caught.value.__cause__) is KeyError
    assert "only_over_there.py" in "".join(traceback.format_exception(caught.value))


def test_an_agent_of_a_class_that_is_not_known_here(foreign):
    agent = foreign.client.create("only_over_there:Agent")
    assert agent.value == 1
    assert len(agent) == 42
    assert "boom" in dir(agent)
    assert foreign.client.get(agentd.handle(agent).id) == agent
    assert len(foreign.client.get(agentd.handle(agent).id)) == 42


def test_init_fails_with_a_type_that_is_not_known_here(foreign):
    agent = foreign.client.create("installed_there:Agent", fail=True)
    with pytest.raises(agentd.errors.AgentCreationError, match="strange init") as caught:
        agentd.handle(agent).wait(30)
    assert isinstance(caught.value.__cause__, RemoteError)
    assert caught.value.__cause__.type_name == "installed_there.Strange"


def test_a_result_of_a_class_that_is_not_known_here(foreign):
    part = foreign.client.create("only_over_there:Agent").part()
    assert type(part).__name__ == "Part"
    with pytest.raises(DecodeError, match="installed_there"):
        foreign.client.create("installed_there:Agent").part()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module:Agent", "no_such_module"),
        ("only_over_there:Nothing", "Nothing"),
        ("only_over_there:FOREIGN", "FOREIGN"),
        (":", "package.module:Class"),
    ],
)
def test_a_class_that_is_not_there_either(foreign, path, said):
    agent = foreign.client.create(path)
    with pytest.raises(agentd.errors.AgentCreationError, match=said):
        agentd.handle(agent).wait(30)


def test_a_name_that_is_not_registered(foreign):
    agent = foreign.client.create("only_over_there")
    with pytest.raises(agentd.errors.ConfigError, match=r"not registered.*package.module:Class"):
        agentd.handle(agent).wait(30)


def test_a_result_that_cannot_travel_is_named(raiser):
    with pytest.raises(SerializationError, match=r"result.*Lock") as caught:
        raiser.returns("{'a': [__import__('threading').Lock()]}")
    assert "result['a'][0]" in str(caught.value) or 'result["a"][0]' in str(caught.value)
    assert "Raiser" in str(caught.value)
    assert raiser.returns("1") == 1


def test_an_argument_that_cannot_travel_is_named_before_anything_is_sent(raiser):
    import threading

    calls = raiser.state()
    with pytest.raises(SerializationError, match=r"args\[1\]") as caught:
        raiser.takes(1, threading.Lock(), c=3)
    assert caught.value.culprit == "threading.Lock"
    with pytest.raises(SerializationError, match="kwargs"):
        raiser.takes(1, c=threading.Lock())
    with pytest.raises(SerializationError, match="value"):
        raiser.value = threading.Lock()
    assert raiser.state() == calls


def test_a_live_object_that_cannot_travel_names_the_path_and_the_way_out(shared):
    import sqlite3

    before = shared.ids()
    agent = Counter(1)
    agent.index = Holder()
    agent.index.conn = sqlite3.connect(":memory:")
    with pytest.raises(SerializationError, match=r"self\.index\.conn") as caught:
        agent.to_dist(shared.endpoint)
    agent.index.conn.close()
    assert "sqlite3.Connection" in str(caught.value)
    assert "to_dist=True" in str(caught.value)
    assert "__getstate__" in str(caught.value)
    assert shared.ids() == before


class Holder:
    pass


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.takes(),
        lambda a: a.takes(1),
        lambda a: a.takes(1, 2, 3, c=1),
        lambda a: a.takes(1, c=1, d=2),
    ],
)
def test_wrong_arguments_are_a_type_error_at_once(raiser, call):
    started = time.monotonic()
    with pytest.raises(TypeError, match="takes") as caught:
        call(raiser)
    with pytest.raises(TypeError) as local:
        call(Raiser())
    assert str(caught.value) == str(local.value)
    assert time.monotonic() - started < 5


def test_a_payload_that_cannot_be_rebuilt_is_an_error_at_once_and_the_agent_lives(raiser):
    started = time.monotonic()
    with pytest.raises(DecodeError, match="not for you"):
        raiser.takes(Poison(), c=1)
    assert raiser.takes(1, c=1) == (1, 2, 1)
    assert time.monotonic() - started < 5


class Poison:
    def __reduce__(self):
        return poison, ()


def poison():
    raise RuntimeError("not for you")


def test_errors_in_special_methods_and_properties():
    agent = Everything(to_dist=True)
    with pytest.raises(KeyError) as caught:
        agent["none"]
    assert caught.value.args == ("none",)
    with pytest.raises(ValueError, match="angry"):
        _ = agent.angry
    with pytest.raises(TypeError, match="unexpected keyword"):
        agent.plain(x=1)


def test_an_exception_as_an_argument_and_a_result():
    counter = Counter(to_dist=True)
    found = counter.echo(Refused(1, why="w"))
    assert type(found) is Refused
    assert (found.code, found.why) == (1, "w")
    with pytest.raises(Refused):
        counter.boom(Refused(1, why="w"))


def test_async_methods_are_waited_for():
    agent = Waiter(to_dist=True)
    assert agent.later(3).result() == 3
    assert list(agent.several(3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="async"):
        agent.fails().result()


class Waiter(agentd.Agent):
    async def later(self, value):
        await asyncio.sleep(0)
        return value

    async def several(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def fails(self):
        await asyncio.sleep(0)
        raise ValueError("async")
