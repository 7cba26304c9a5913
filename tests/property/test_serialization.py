"""decode(encode(x)) == x with exact types; random bytes give a value or a DecodeError."""

import datetime
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.errors import DecodeError
from agentd.serialization import decode, decode_call, encode, encode_call

atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
plain = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)
keys = st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
rich_atoms = (
    atoms
    | st.complex_numbers(allow_nan=False)
    | st.binary().map(bytearray)
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.UTC))
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sets(keys)
    | st.frozensets(keys)
)
rich = st.recursive(
    rich_atoms,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=30,
)


def shape(value):
    """The value with the exact type of every part."""
    if type(value) in (list, tuple):
        return type(value), [shape(item) for item in value]
    if type(value) is dict:
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if type(value) is float:
        return float, math.copysign(1, value), value
    return type(value), repr(value) if type(value) is complex else value


@given(plain)
def test_plain_values(value):
    assert shape(decode(*encode(value))) == shape(value)


@given(rich)
def test_rich_values_in_any_codec(value):
    assert shape(decode(*encode(value))) == shape(value)


@given(rich)
def test_rich_values_as_data(value):
    encoded = encode(value, data_only=True)
    assert encoded.codec == "data"
    assert shape(decode(*encoded, data_only=True)) == shape(value)


@given(st.lists(rich).map(tuple), st.dictionaries(st.text(), rich), st.booleans())
def test_calls(args, kwargs, data_only):
    back = decode_call(*encode_call(args, kwargs, data_only=data_only), data_only=data_only)
    assert shape(back) == shape((args, kwargs))


@settings(max_examples=1000)
@given(st.binary(max_size=200), st.lists(st.binary(max_size=5), max_size=2))
def test_random_bytes_as_data(head, buffers):
    try:
        decode("data", head, buffers)
    except DecodeError:
        pass


@settings(max_examples=500)
@given(rich, st.data())
def test_damaged_data(value, draw):
    head = bytearray(encode(value, data_only=True).head)
    place = draw.draw(st.integers(0, len(head) - 1))
    head[place] = draw.draw(st.integers(0, 255))
    try:
        decode("data", bytes(head), [])
    except DecodeError:
        pass
