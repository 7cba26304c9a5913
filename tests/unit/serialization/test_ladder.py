"""Which codec a value gets, and that it comes back as it was."""

import collections
import datetime
import decimal
import enum
import io
import pickle
import sys
import types
import uuid
import weakref

import msgpack
import pytest

from agentd.errors import CodecNotAllowed, DecodeError, SerializationError, VersionMismatch
from agentd.serialization import (
    Encoded,
    decode,
    decode_call,
    decode_spec,
    encode,
    encode_call,
    encode_object,
    encode_spec,
)

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
BIG = bytes(range(256)) * 512


class Here:
    """Travels by value: this test is not importable elsewhere."""


class Remote:
    """Stands for a proxy."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        raise AssertionError("taken apart instead of referred to")


class Refs:
    def to_wire(self, obj):
        return ("agent", obj.name) if isinstance(obj, Remote) else None

    def from_wire(self, wire):
        kind, name = wire
        return (kind, name)


REFS = Refs()


@pytest.mark.parametrize(
    "value",
    [None, True, 1, -1, 2**63, 1.5, "text", b"bytes", [], {}, [1, [2, {"a": None}]], {"k": [b""]}],
)
def test_plain_values_are_data(value):
    encoded = encode(value)
    assert encoded.codec == "data"
    assert decode(*encoded) == value
    assert type(decode(*encoded)) is type(value)


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        frozenset({1}),
        bytearray(b"x"),
        {1: 2},
        {b"k": 1},
        2**64,
        -(2**63) - 1,
        1j,
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        collections.deque([1], maxlen=3),
        Number.ONE,
        Text("x"),
        [Number.ONE],
        {Text("k"): 1},
        "lone \ud800 surrogate",
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        decimal.Decimal("1.10"),
        uuid.UUID(int=5),
        range(3),
        slice(1, 2),
        ...,
        NotImplemented,
        len,
        int,
        type(None),
        types.FunctionType,
        types.MappingProxyType({"a": 1}),
    ],
)
def test_other_values_keep_their_exact_type(value):
    encoded = encode(value)
    assert encoded.codec != "data"
    back = decode(*encoded)
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, (list, dict)):
        assert [type(item) for item in back] == [type(item) for item in value]


def test_aliases_and_cycles_survive():
    one = [1]
    a, b = decode(*encode([one, one]))
    assert a is b
    loop = []
    loop.append(loop)
    back = decode(*encode(loop))
    assert back[0] is back


def test_large_values_are_not_walked_in_python():
    assert encode(list(range(1000))).codec == "pickle"
    assert encode({"deep": [list(range(1000))]}).codec == "pickle"


def test_the_fast_codecs_do_not_import_dill():
    import subprocess

    program = (
        "import sys, agentd.serialization as s\n"
        "s.decode(*s.encode([1, (2,)]))\n"
        "class A:\n    def f(self): return A\n"
        "s.decode(*s.encode(A()))\n"
        "assert 'dill' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("data_only", [False, True])
def test_long_bytes_are_not_copied(data_only):
    encoded = encode([1, {"blob": BIG}], data_only=data_only)
    assert encoded.codec == "data"
    assert encoded.buffers[0] is BIG
    assert len(encoded.head) < 100
    assert decode(*encoded, data_only=data_only) == [1, {"blob": BIG}]
    assert decode(encoded.codec, encoded.head, [memoryview(BIG)])[1]["blob"] == BIG


class Array:
    """What numpy does: its memory goes out of band."""

    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(self.memory),)


def test_pickle_buffers_go_out_of_band_and_arrive_writable():
    memory = bytearray(BIG)
    encoded = encode((Array(memory),))
    assert len(encoded.head) < 2000
    with memoryview(encoded.buffers[0]) as view:
        assert view.obj is memory
    (back,) = decode(encoded.codec, encoded.head, [bytes(encoded.buffers[0])])
    back.memory[0] = 255
    assert bytes(back.memory[1:]) == BIG[1:]


def test_calls():
    for args, kwargs in [((), {}), ((1, "a"), {"k": None}), (((1,),), {"s": {1}})]:
        assert decode_call(*encode_call(args, kwargs)) == (args, kwargs)
        plain = encode_call(args, kwargs, data_only=True)
        assert plain.codec == "data"
        assert decode_call(*plain, data_only=True) == (args, kwargs)
    assert encode_call((1,), {"k": "v"}).codec == "data"


@pytest.mark.parametrize("value", [1, [1, 2], [[1], {1: 2}], {"a": 1}, [[], {}, 3], "ab"])
def test_a_payload_that_is_no_call_is_refused(value):
    with pytest.raises(DecodeError):
        decode_call(*encode(value))
    with pytest.raises(DecodeError):
        decode_spec(*encode(value))


def test_references_travel_as_references_in_every_codec():
    value = [Remote("a"), {"k": Remote("b")}]
    expected = [("agent", "a"), {"k": ("agent", "b")}]
    for options in ({}, {"data_only": True}):
        encoded = encode(value, refs=REFS, **options)
        assert decode(*encoded, refs=REFS) == expected
        with pytest.raises(DecodeError, match="reference"):
            decode(*encoded)
    encoded = encode((value, lambda: None), refs=REFS)
    assert encoded.codec.startswith("dill:")
    assert decode(*encoded, refs=REFS)[0] == expected


def test_a_reference_in_the_globals_of_a_class(receiver):
    cell = types.ModuleType("__main__")
    exec("class Agent:\n    def ask(self): return peer", cell.__dict__)
    cell.peer = Remote("p")
    encoded = encode(cell.Agent, refs=REFS)
    with pytest.raises(AssertionError, match="reference"):
        receiver.put(encoded)


def test_a_live_object_is_not_its_own_reference():
    class Agent(Remote):
        __reduce__ = object.__reduce__

    agent = Agent("self")
    agent.me = agent
    agent.other = Remote("o")
    back = decode(*encode_object(agent, refs=REFS), refs=REFS)
    assert type(back) is Agent
    assert back.me is back
    assert back.other == ("agent", "o")


def test_weak_references_need_dill():
    class Node:
        pass

    node = Node()
    node.self = weakref.ref(node)
    encoded = encode(node)
    assert encoded.codec == f"dill:{THIS}"
    back = decode(*encoded)
    assert back.self() is back


# -- codecs -------------------------------------------------------------------------------------


def test_code_of_another_version_is_refused_with_both_named():
    encoded = encode(Here())
    assert encoded.codec == f"dill:{THIS}"
    with pytest.raises(VersionMismatch) as caught:
        decode("dill:3.99", encoded.head, [])
    assert (caught.value.local, caught.value.remote) == (THIS, "3.99")


@pytest.mark.parametrize("codec", ["", "json", "iter", "PICKLE", "data2"])
def test_unknown_codec(codec):
    with pytest.raises(DecodeError, match="unknown codec"):
        decode(codec, b"", [])


@pytest.mark.parametrize("value", [(1,), Here])
def test_data_only_reads_nothing_else(value):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("code ran",)

    for encoded in (encode(value), Encoded("pickle", pickle.dumps(Bomb()), [])):
        with pytest.raises(CodecNotAllowed, match="plain data"):
            decode(*encoded, data_only=True)


@pytest.mark.parametrize("head", [b"", b"\x80", b"garbage", pickle.dumps(1)[:-2]])
def test_garbage_pickle(head):
    with pytest.raises(DecodeError):
        decode("pickle", head, [])


def test_a_missing_name_says_what_is_missing():
    head = pickle.dumps(collections.OrderedDict()).replace(b"OrderedDict", b"OrderedDuct")
    with pytest.raises(DecodeError, match="OrderedDuct"):
        decode("pickle", head, [])


def test_pickle_loads_of_our_pickles_says_what_to_use():
    with pytest.raises(DecodeError, match=r"agentd\.serialization\.decode"):
        pickle.loads(encode(Here()).head)


# -- data only ----------------------------------------------------------------------------------

EXTENDED = [
    (),
    (1, (2, [3])),
    {1, "a"},
    frozenset({1}),
    {(1, 2): {3}},
    bytearray(b"ab"),
    2**200,
    -(2**200),
    2**64,
    -(2**63) - 1,
    1 - 2j,
    datetime.date(2026, 2, 3),
    datetime.time(1, 2, 3, 4, fold=1),
    datetime.datetime(2026, 2, 3, 4, 5, 6, 7),  # noqa: DTZ001
    datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC),
    datetime.datetime(2026, 2, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "X")),
    datetime.timedelta(-1, 2, 3),
    decimal.Decimal("-1.50E+3"),
    uuid.UUID(int=7),
    {1: 2, "a": (None,)},
    "x" * 100_000,
    list(range(10_000)),
]


@pytest.mark.parametrize("value", EXTENDED, ids=lambda value: type(value).__name__)
def test_data_has_a_form_of(value):
    encoded = encode(value, data_only=True)
    assert encoded.codec == "data"
    back = decode(*encoded, data_only=True)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_zones_by_name():
    import zoneinfo

    try:
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time zone data here")
    value = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zone)
    back = decode(*encode(value, data_only=True))
    assert back.tzinfo.key == "Europe/Berlin"
    assert back.utcoffset() == value.utcoffset()


@pytest.mark.parametrize(
    ("value", "path", "culprit"),
    [
        ([1, {"a": object()}], "x[1]['a']", "builtins.object"),
        ((1, Number.ONE), "x[1]", f"{__name__}.Number"),
        (Text("t"), "x", f"{__name__}.Text"),
        ({"f": {"g": len}}, "x['f']['g']", "builtins.builtin_function_or_method"),
        (collections.OrderedDict(a=1), "x", "collections.OrderedDict"),
        ({object(): 1}, "x.keys()", "builtins.object"),
        ("\ud800", "x", "str"),
    ],
)
def test_data_only_names_what_has_no_form(value, path, culprit):
    with pytest.raises(SerializationError) as caught:
        encode(value, data_only=True, root="x")
    assert (caught.value.path, caught.value.culprit) == (path, culprit)


def test_data_only_calls_name_the_argument():
    with pytest.raises(SerializationError) as caught:
        encode_call((1, [object()]), {}, data_only=True)
    assert caught.value.path == "args[1][0]"
    with pytest.raises(SerializationError) as caught:
        encode_call((), {"k": object()}, data_only=True)
    assert caught.value.path == 'kwargs["k"]'


def test_data_only_bounds_nesting_both_ways():
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested"):
        encode(deep, data_only=True)
    head = b"\xc0"
    for _ in range(200):
        head = msgpack.packb(msgpack.ExtType(1, b"\x91" + head))
    with pytest.raises(DecodeError):
        decode("data", head, [])
    with pytest.raises(DecodeError):
        decode("data", b"\x91" * 100_000 + b"\xc0", [])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb(msgpack.ExtType(99, b"")),
        msgpack.packb(msgpack.ExtType(15, msgpack.packb(0))),
        msgpack.packb(msgpack.ExtType(15, msgpack.packb(-1))),
        msgpack.packb(msgpack.ExtType(12, b"short")),
        msgpack.packb(msgpack.ExtType(11, b"1" * 20_000)),
        msgpack.packb(msgpack.ExtType(5, b"\x7f" * 100_000)),
        msgpack.packb(msgpack.ExtType(2, msgpack.packb([[]]))),
        msgpack.packb(msgpack.ExtType(13, msgpack.packb([[1]]))),
        msgpack.packb(msgpack.ExtType(7, msgpack.packb(["2026-01-01", 7, None]))),
        msgpack.packb(msgpack.ExtType(7, msgpack.packb(["2026-01-01", 0, "../../etc/passwd"]))),
        msgpack.packb(msgpack.ExtType(10, msgpack.packb([10**18, 0, 0]))),
        msgpack.packb({1: 2}),
    ],
)
def test_malformed_data_is_a_decode_error(head):
    with pytest.raises(DecodeError):
        decode("data", head, [])


def test_too_deep_for_pickle():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        encode(deep)


# -- specifications -----------------------------------------------------------------------------


def test_an_importable_class_travels_as_text():
    encoded = encode_spec(io.StringIO, ("text",), {})
    assert encoded.codec == "data"
    assert decode(*encoded)[0] == "_io:StringIO"
    assert decode_spec(*encoded) == (io.StringIO, ("text",), {})
    assert encode_spec("collections:OrderedDict", (), {}, data_only=True).codec == "data"


def test_a_foreign_class_travels_inside():
    encoded = encode_spec(Here, (1,), {"k": 2})
    assert encoded.codec == f"dill:{THIS}"
    assert decode_spec(*encoded) == (Here, (1,), {"k": 2})
    with pytest.raises(SerializationError):
        encode_spec(Here, (), {}, data_only=True)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module_x:Thing", "agentd serve --path DIR"),
        ("collections:NoSuch", "no class NoSuch"),
        ("collections:abc", "no class abc"),
        ("collections", "package.module:Class"),
        (":", "package.module:Class"),
    ],
)
def test_a_class_that_is_not_there_says_what_to_do(target, says):
    with pytest.raises(DecodeError, match=says):
        decode_spec(*encode_spec(target, (), {}))
