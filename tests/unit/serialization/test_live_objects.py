"""Agents as they are: what travels, and how what cannot is named."""

import asyncio
import concurrent.futures
import io
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading

import pytest
import zmq

from agentd.errors import SerializationError
from agentd.serialization import decode, encode, encode_call, encode_object

INITS = []


class Agent:
    def __init__(self, **attributes):
        INITS.append(1)
        self.__dict__.update(attributes)


class Stateful:
    __slots__ = ("kept", "lock")

    def __init__(self):
        self.kept = 1
        self.lock = threading.Lock()

    def __getstate__(self):
        return {"kept": self.kept + 1}

    def __setstate__(self, state):
        self.kept = state["kept"]
        self.lock = threading.Lock()


class Reduced:
    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()

    def __reduce__(self):
        return Reduced, (self.x + 1,)


class Listed(list):
    pass


def test_state_moves_and_init_does_not_run_again(receiver):
    step = 3
    agent = Agent(n=1, data={"a": [1]}, f=lambda x: x + step)
    agent.me = agent
    agent.bound = agent.f
    before = len(INITS)
    receiver.put(encode_object(agent))
    assert receiver.ask("(v.n, v.data, v.f(1), v.me is v, v.bound is v.f)") == (
        1,
        {"a": [1]},
        4,
        True,
        True,
    )
    assert len(INITS) == before


def test_a_closure_over_the_agent_itself(receiver):
    agent = Agent(n=5)
    agent.get = lambda: agent.n
    receiver.put(encode_object(agent))
    assert receiver.ask("[setattr(v, 'n', 6), v.get()][1]") == 6


def test_own_ways_of_pickling_are_respected(receiver):
    receiver.put(encode_object(Stateful()))
    assert receiver.ask("v.kept") == 2
    receiver.put(encode_object(Reduced(1)))
    assert receiver.ask("v.x") == 2
    listed = Listed([1, 2])
    listed.name = "n"
    receiver.put(encode_object(listed))
    assert receiver.ask("(list(v), v.name)") == ([1, 2], "n")


def _generator():
    yield


async def _coroutine():
    pass


@pytest.fixture
def things():
    context = zmq.Context()
    coroutine = _coroutine()
    loop = asyncio.new_event_loop()
    process = subprocess.Popen([sys.executable, "-c", ""])
    found = {
        "threading.Lock": threading.Lock(),
        "threading.RLock": threading.RLock(),
        "threading.Condition": threading.Condition(),
        "threading.Event": threading.Event(),
        "threading.Semaphore": threading.Semaphore(),
        "threading.Thread": threading.Thread(),
        "threading.local": threading.local(),
        "socket.socket": socket.socket(),
        "file": open(__file__),  # noqa: PTH123, SIM115
        "binary": open(__file__, "rb"),  # noqa: PTH123, SIM115
        "raw": open(__file__, "rb", buffering=0),  # noqa: PTH123, SIM115
        "temporary": tempfile.TemporaryFile(),  # noqa: SIM115
        "sqlite3.Connection": sqlite3.connect(":memory:"),
        "sqlite3.Cursor": sqlite3.connect(":memory:").cursor(),
        "generator": _generator(),
        "coroutine": coroutine,
        "asyncio event loop": loop,
        "ssl.SSLContext": ssl.create_default_context(),
        "subprocess.Popen": process,
        "zmq.Context": context,
        "zmq.Socket": context.socket(zmq.PAIR),
        "concurrent.futures.Executor": concurrent.futures.ThreadPoolExecutor(1),
        "concurrent.futures.Future": concurrent.futures.Future(),
        "frame": sys._getframe(),
    }
    yield found
    coroutine.close()
    found["zmq.Socket"].close()
    context.term()
    loop.close()
    process.wait()
    found["sqlite3.Cursor"].connection.close()
    for name in ("socket.socket", "file", "binary", "raw", "temporary", "sqlite3.Connection"):
        found[name].close()


def test_what_cannot_travel_is_refused_with_its_path(things):
    for name, thing in things.items():
        with pytest.raises(SerializationError) as caught:
            encode_object(Agent(index=Agent(conn=thing)))
        error = caught.value
        assert error.path == "self.index.conn", name
        if name not in ("file", "binary", "raw", "temporary"):
            assert error.culprit == name
        else:
            assert "open file" in error.culprit or "tempfile" in error.culprit
        assert str(error).startswith(f"self.index.conn cannot travel: {error.culprit}")
        assert "to_dist=True" in str(error)
        assert "__getstate__" in str(error)


def test_in_arguments_the_advice_is_another(things):
    for thing in things.values():
        with pytest.raises(SerializationError) as caught:
            encode_call((1,), {"x": [thing]})
        assert caught.value.path == 'kwargs["x"][0]'
        assert "to_dist" not in str(caught.value)


def test_what_is_in_memory_travels():
    assert decode(*encode(io.BytesIO(b"x"))).getvalue() == b"x"
    assert decode(*encode(io.StringIO("x"))).getvalue() == "x"


LOCK = threading.Lock()


class WithSlots:
    __slots__ = ("conn",)


def _slotted():
    made = WithSlots()
    made.conn = threading.Lock()
    return made


class HasState:
    def __getstate__(self):
        return {"renamed": threading.Lock()}


class BrokenState:
    def __getstate__(self):
        raise ValueError("no state today")


def _closing_over():
    lock = threading.Lock()
    return lambda: lock


@pytest.mark.parametrize(
    ("attributes", "path"),
    [
        ({"a": [{"k": LOCK}]}, 'self.a[0]["k"]'),
        ({"a": (1, {2: LOCK})}, "self.a[1][2]"),
        ({"a": {LOCK}}, "self.a{…}"),
        ({"a": _slotted()}, "self.a.conn"),
        ({"a": HasState()}, "self.a.renamed"),
        ({"a": BrokenState()}, "self.a"),
        ({"f": _closing_over()}, 'self.f.__closure__["lock"]'),
        ({"f": Agent(x=LOCK).__init__}, "self.f.__self__.x"),
        ({"f": lambda x=LOCK: x}, "self.f.__defaults__[0]"),
        ({"a": Listed([LOCK])}, "self.a[0]"),
    ],
)
def test_paths(attributes, path):
    with pytest.raises(SerializationError) as caught:
        encode_object(Agent(**attributes))
    assert caught.value.path == path


def test_the_path_avoids_cycles():
    agent = Agent(lock=threading.Lock())
    agent.child = Agent(parent=agent)
    with pytest.raises(SerializationError) as caught:
        encode_object(agent)
    assert caught.value.path == "self.lock"


def test_a_huge_object_is_refused_quickly():
    agent = Agent(rows=[[i] for i in range(200_000)])
    agent.rows.append(threading.Lock())
    with pytest.raises(SerializationError):
        encode_object(agent)


def test_two_arguments_are_told_apart():
    with pytest.raises(SerializationError) as caught:
        encode_call(([1], [threading.Lock()]), {})
    assert caught.value.path == "args[1][0]"


def test_a_lock_in_code_is_made_anew_but_not_one_in_state(receiver):
    class Agent:
        lock = threading.RLock()

        def run(self):
            with self.lock, LOCK:
                return "ran"

    receiver.put(encode_object(Agent()))
    assert receiver.ask("v.run()") == "ran"
