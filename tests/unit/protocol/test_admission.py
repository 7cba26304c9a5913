"""The list of who may come to a worker: read as it was written, or not at all."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.errors import ProtocolError
from agentd.protocol.access import Grant, Role
from agentd.protocol.admission import read_admission, write_admission

TEXTS = st.lists(st.text(max_size=8), max_size=3).map(tuple)
GRANTS = st.builds(
    Grant,
    st.text(min_size=1, max_size=12).map("key:{}".format),
    st.text(max_size=8),
    st.frozensets(st.sampled_from(Role)),
    TEXTS,
    TEXTS,
    st.none() | st.floats(allow_nan=False),
)


@given(st.lists(GRANTS, max_size=5, unique_by=lambda grant: grant.who), st.data())
def test_what_is_written_is_what_is_read(grants, data):
    by_who = {grant.who: grant for grant in grants}
    keys = {
        data.draw(st.binary(min_size=32, max_size=32)): who
        for who in by_who
    }  # fmt: skip
    found, found_keys = read_admission(write_admission(by_who, keys))
    assert found_keys == keys
    assert found == {who: by_who[who] for who in keys.values()}


def test_who_has_no_key_is_not_in_it_nor_a_key_without_a_grant():
    user = Grant("uid:1000", "user", frozenset({Role.ADMIN}))
    assert read_admission(write_admission({user.who: user}, {b"k" * 32: "key:gone"})) == ({}, {})


ROW = [b"k" * 32, "key:x", "x", ["caller"], ["*"], ["*"], None]
WRONG = [
    b"",
    b"\xc1",
    msgpack.packb(5),
    msgpack.packb([[*ROW, 1]]),
    msgpack.packb([ROW[:-1]]),
    msgpack.packb([[*ROW[:3], ["king"], *ROW[4:]]]),
    msgpack.packb([[*ROW[:4], [1], *ROW[5:]]]),
    msgpack.packb([[*ROW[:6], "tomorrow"]]),
    msgpack.packb([["key", *ROW[1:]]]),
    msgpack.packb([ROW]) + b"x",
]


@pytest.mark.parametrize("packed", WRONG)
def test_what_is_no_such_list_is_refused_whole(packed):
    with pytest.raises(ProtocolError):
        read_admission(packed)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_none(packed):
    try:
        grants, keys = read_admission(packed)
    except ProtocolError:
        return
    assert set(keys.values()) == set(grants)
