"""Functions, closures and what surrounds them, in a process that cannot import them."""

import functools
import math
import os.path
import sys
import types

import pytest

from agentd.errors import SerializationError
from agentd.serialization import encode

FACTOR = 2
COUNT = 0


def double(x):
    return x * FACTOR


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def count():
    global COUNT
    COUNT += 1
    return COUNT


def read_count():
    return COUNT


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return ("wrapped", function(*args))

    return wrapper


@decorated
def plus(a, b=1, *, c=2):
    """Add."""
    return a + b + c


def make_pair():
    value = 0

    def bump():
        nonlocal value
        value += 1

    return bump, lambda: value


def recursive_closure():
    def inner(n):
        return n if n == 0 else inner(n - 1)

    return inner


@functools.lru_cache(maxsize=8)
def squared(x):
    return x * x


@functools.singledispatch
def describe(x):
    return "any"


@describe.register
def _(x: int):
    return "int"


def generator(n):
    yield from range(n)


def uses_modules(x):
    return os.path.basename(math.sqrt(x).hex())  # noqa: PTH119


CASES = [
    (double, "v(4)", 8),
    (lambda x: double(x) + 1, "v(4)", 9),
    (factorial, "v(5)", 120),
    ([count, read_count], "(v[0](), v[0](), v[1]())", (1, 2, 2)),
    (
        plus,
        "(v(1), v.__name__, v.__doc__, v.__wrapped__(1, c=3))",
        (("wrapped", 4), "plus", "Add.", 5),
    ),
    (make_pair(), "(v[0](), v[0](), v[1]())", (None, None, 2)),
    (recursive_closure(), "v(3)", 0),
    (squared, "(v(3), v(3), v.cache_info().hits)", (9, 9, 1)),
    (describe, "(v(1), v('x'))", ("int", "any")),
    (generator, "list(v(3))", [0, 1, 2]),
    (functools.partial(double, 4), "v()", 8),
    (uses_modules, "v(4)", (2.0).hex()),
    ({"f": double, "g": double}, "v['f'] is v['g']", True),
]


@pytest.mark.parametrize(("value", "question", "answer"), CASES)
def test_a_function_by_value_works_in_another_process(receiver, value, question, answer):
    encoded = encode(value)
    assert encoded.codec.startswith("dill:3.")
    receiver.put(encoded)
    assert receiver.ask(question) == answer


def test_a_function_of_an_installed_module_travels_by_name():
    assert encode([os.path.join, math.sqrt, len, functools.partial]).codec == "pickle"


def test_a_module_beside_the_script_travels_with_what_is_used_of_it(
    receiver, tmp_path, monkeypatch
):
    (tmp_path / "beside_one.py").write_text(
        "import sys, threading\nLOCK = threading.Lock()\nLIMIT = 4\n"
        "def limited(x): return min(x, LIMIT)\nFILE = open(__file__)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_one

    try:
        cell = types.ModuleType("__main__")
        cell.beside_one = beside_one
        exec("def run(x): return beside_one.limited(x) + beside_one.LIMIT", cell.__dict__)
        receiver.put(encode(cell.run))
        assert receiver.ask("v(9)") == 8
    finally:
        beside_one.FILE.close()
        del sys.modules["beside_one"]


def test_a_lock_among_the_globals_of_a_function_is_made_anew(receiver):
    cell = types.ModuleType("__main__")
    exec(
        "import threading\nlock = threading.Lock()\nlocal = threading.local()\n"
        "def run():\n    with lock: local.x = 3\n    return local.x",
        cell.__dict__,
    )
    receiver.put(encode([cell.run]))
    assert receiver.ask("v[0]()") == 3


def test_a_global_that_cannot_travel_is_named():
    cell = types.ModuleType("__main__")
    exec("conn = open('/dev/null')\ndef run(): return conn", cell.__dict__)
    with cell.conn, pytest.raises(SerializationError) as caught:
        encode(cell.run, root="args[0]")
    assert caught.value.path == 'args[0].__globals__["conn"]'
    assert "open file" in caught.value.culprit
