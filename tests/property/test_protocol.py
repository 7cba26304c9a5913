"""Messages survive the wire; nothing else comes off it."""

import os
import random
import tracemalloc

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentd.errors import AgentdError, ProtocolError, from_wire
from agentd.protocol import error_message, fit, pack, unpack
from agentd.protocol.envelope import MAGIC, MAX_FRAMES, MAX_HEADER_BYTES
from agentd.protocol.messages import KINDS, Message, Ping
from agentd.protocol.scan import EXPANSION, HeaderLimits, scan
from tests.fuzz.headers import hostile_header

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
SMALL = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXT
)
PLAIN = st.recursive(
    SMALL | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
BY_TYPE = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    str: TEXT,
    bytes: st.binary(max_size=50),
    bool: st.booleans(),
    type(None): st.none(),
    dict: st.dictionaries(TEXT, PLAIN, max_size=4),
    list: st.lists(PLAIN, max_size=4),
}


@st.composite
def messages(draw: st.DrawFn) -> Message:
    cls = draw(st.sampled_from(sorted(KINDS.values(), key=lambda c: c.kind)))
    values = [
        draw(
            st.one_of(*(BY_TYPE[t] for t in types))
            | (st.just(default) if not required else st.nothing())
        )
        for _name, types, default, required in cls.fields
    ]
    return cls(*values)


@given(messages())
def test_a_message_survives_the_wire(message):
    frames = pack(message, [b"head", b"buffer"])

    assert unpack(frames) == message
    assert type(unpack(frames)) is type(message)
    assert frames[1:] == [b"head", b"buffer"]


@given(messages())
def test_memoryviews_do_too(message):
    assert unpack([memoryview(pack(message)[0])]) == message


@given(messages(), st.dictionaries(TEXT.filter(lambda t: t not in _NAMES), PLAIN, max_size=3))
def test_unknown_keys_are_ignored(message, more):
    header = msgpack.unpackb(pack(message)[0][4:])

    assert unpack([MAGIC + msgpack.packb({**more, **header})]) == message


_NAMES = {field[0] for cls in KINDS.values() for field in cls.fields} | {"kind"}


def read(frames, limits=None):
    """A message or ``ProtocolError``; anything else fails the test."""
    try:
        return unpack(frames) if limits is None else unpack(frames, limits)
    except ProtocolError:
        return None


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_frames(frames):
    read(frames)


@given(st.binary(max_size=200))
@example(b"\x91" * 5_000)
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\xc7\x00\x01")
@example(b"\xd6\xff\x00\x00\x00\x00")  # msgpack's own timestamp
@example(b"")
def test_random_headers(body):
    read([MAGIC + body])


@given(messages(), st.data())
def test_mutated_headers(message, data):
    header = bytearray(pack(message)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    read([bytes(header[: data.draw(st.integers(0, len(header)))])])


@given(messages(), st.data())
def test_a_known_key_of_a_wrong_type_is_refused(message, data):
    fields = [f for f in type(message).fields if f[1]]
    if not fields:
        return
    name, types, _default, _required = data.draw(st.sampled_from(fields))
    wrong = data.draw(PLAIN.filter(lambda v: type(v) not in types))
    header = {**msgpack.unpackb(pack(message)[0][4:]), name: wrong}

    with pytest.raises(ProtocolError, match=name):
        unpack([MAGIC + msgpack.packb(header)])


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb({1: 2, "kind": "ping", "id": 1}),
        msgpack.packb({"kind": "ping", "id": msgpack.ExtType(5, b"x")}),
        msgpack.packb({"kind": "ping", "id": 1, "more": msgpack.ExtType(5, b"x")}),
        msgpack.packb({"kind": "ping", "id": 1}) + b"trailing",
        msgpack.packb({"kind": "ping", "id": True}),
        msgpack.packb({"kind": "ping", "id": 1.0}),
        msgpack.packb({"kind": "ping"}),
        msgpack.packb({"kind": b"ping", "id": 1}),
        msgpack.packb(["ping", 1]),
        b"\x82\xa4kind\xa4ping\xa2id",
        b"\x82\xa4kind\xa4ping\xa4more" + b"\x91" * 2_000 + b"\xc0",
        b"\x82\xa4kind\xa4ping\xa4more\xdd\x00\x00\xff\xff" + b"\xc0" * 65_000,
    ],
)
def test_refused(body):
    with pytest.raises(ProtocolError):
        unpack([MAGIC + body])


@pytest.mark.parametrize("filler", [b"", b"x" * 2_000])
def test_a_key_that_comes_twice_is_refused(filler):
    more = msgpack.packb(filler)
    with pytest.raises(ProtocolError, match="twice"):
        unpack([MAGIC + b"\x84\xa4kind\xa4ping\xa2id\x01\xa2id\x02\xa4more" + more])


@pytest.mark.parametrize("filler", [b"", b"x" * 10_000])
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (float("nan"), "wrong type"),
        (msgpack.Timestamp(1, 1), "wrong type|extension"),
        ([msgpack.Timestamp(1, 1)], "extension|wrong type"),
        ({1: 2}, "text|wrong type"),
        ([{b"k": 2}], "text|wrong type"),
    ],
)
def test_values_that_no_header_has(value, what, filler):
    for name in ("at", "more"):
        if name == "more" and value != value:
            continue  # what is not known is ignored
        body = {"kind": "ping", "id": 1, name: value, "filler": filler}
        with pytest.raises(ProtocolError, match=what):
            unpack([MAGIC + msgpack.packb(body)])


@pytest.mark.parametrize("filler", [b"", b"x" * 10_000])
def test_nesting_is_bounded_at_the_same_level_however_it_is_read(filler):
    def header(levels):
        value: object = 1
        for _ in range(levels - 1):  # the header itself is the first
            value = [value]
        body = {"kind": "ping", "id": 1, "more": value, "filler": filler}
        return [MAGIC + msgpack.packb(body)]

    assert unpack(header(32)) == Ping(1)
    with pytest.raises(ProtocolError, match="deep"):
        unpack(header(33))


def test_items_are_counted_over_all_lists_and_maps():
    def header(lists):
        return [MAGIC + msgpack.packb({"kind": "ping", "id": 1, "more": [[0] * 999] * lists})]

    assert unpack(header(9)) == Ping(1)
    with pytest.raises(ProtocolError, match="items"):
        unpack(header(10))


STRICT = HeaderLimits(bytes=4_096, frames=8, depth=8, items=100)


def test_a_daemon_may_be_stricter():
    def ping(**more):
        return MAGIC + msgpack.packb({"kind": "ping", "id": 1, **more})

    assert unpack([ping()] * 8, STRICT) == Ping(1)
    for frames in (
        [ping()] * 9,
        [ping(more=b"x" * 4_100)],
        [ping(more=[0] * 101)],
        [ping(more=[[[[[[[[1]]]]]]]])],
    ):
        assert unpack(frames) == Ping(1)
        with pytest.raises(ProtocolError):
            unpack(frames, STRICT)


@pytest.mark.parametrize("count", [0, MAX_FRAMES + 1])
def test_the_number_of_frames_is_bounded(count):
    with pytest.raises(ProtocolError, match="frames"):
        unpack([pack(Ping(1))[0]] * count)


def test_the_longest_header_is_read_and_the_next_one_refused():
    room = MAX_HEADER_BYTES - len(pack(_named(""))[0])
    longest = _named("x" * (room - 2))  # text of this length has a longer frame

    assert len(pack(longest)[0]) == MAX_HEADER_BYTES
    assert unpack(pack(longest)) == longest
    with pytest.raises(ProtocolError, match="at most"):
        pack(_named("x" * (room - 1)))


def _named(text):
    return KINDS["drop"](b"", 0, text)


def test_a_foreign_frame_that_is_too_long_is_not_even_copied():
    heavy = [MAGIC + bytes(50_000_000)]
    assert _peak(heavy) < 100_000


FRONT = HeaderLimits()
BODIES = {
    "lists": b"\x91" * 65_000,
    "lists that say they are long": b"\xdc\x27\x0f" * 20_000,
    "one that says it has 4 G items": b"\xdd\x7f\xff\xff\xff",
    "nothings": b"\xdc\xff\x00" + b"\xc0" * 65_000,
    "empty maps": b"\xdc\x27\x00" + b"\x80" * 9_984,
    "empty texts": b"\xdc\x27\x00" + b"\xa0" * 9_984,
    "short bytes": b"\xdc\x27\x00" + b"\xc4\x01x" * 9_984,
    "pairs": b"\xde\x20\x00" + b"".join(b"\xa4%04x\xcd\x7f\xff" % i for i in range(8_192)),
    "text of wide letters": msgpack.packb("\N{PILE OF POO}" * 16_000),
    "one wide letter": msgpack.packb("x" * 65_000 + "\N{PILE OF POO}"),
    "just less": msgpack.packb("x" * 50_000 + "\N{PILE OF POO}"),
    "plain text": msgpack.packb("x" * 65_000),
    "small and deep": b"\x91" * 1_000,
    "small, in long lists": b"\xdc\x00\x40" * 300,
    "small, in longer lists": b"\xdc\x03\x00" * 300,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_foreign_header_costs_little_memory(body):
    for start in (b"", b"\x83\xa4kind\xa4ping\xa2id\x01\xa4more"):
        assert _peak([MAGIC + start + body], FRONT) <= EXPANSION * MAX_HEADER_BYTES


def _peak(frames, limits=None):
    """Bytes that reading takes at its worst moment."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        read(frames, limits)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# -- fuzzing ---------------------------------------------------------------------------------------
TOKENS = st.one_of(
    st.sampled_from(
        [b"\x80", b"\x81", b"\x8f", b"\x90", b"\x91", b"\x9f", b"\xa0", b"\xa1k", b"\xc0", b"\xc1"]
        + [b"\xdc\x00\x05", b"\xdd\x00\x00\x00\x05", b"\xde\x00\x02", b"\xdf\x00\x00\x00\x02"]
        + [b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xd4\xff\x00", b"\xd6\xff\x00\x00\x00\x00"]
        + [b"\xc7\x0c\xff" + bytes(12), b"\xcb\x7f\xf8" + bytes(6), b"\xa2\xff\xfe"]
        + [msgpack.packb(word) for word in ("kind", "id", "ping", "call", "agent", "at")]
    ),
    st.builds(msgpack.packb, SMALL),
    st.binary(max_size=4),
)


def test_fuzz_headers_by_shape(fuzz_examples):
    """Whatever is put together of parts of headers: a message or ``ProtocolError``."""

    @settings(max_examples=max(1, fuzz_examples // 50), suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(
            st.lists(TOKENS, max_size=60).map(b"".join),
            st.tuples(TOKENS, st.integers(0, 20_000)).map(lambda t: (t[0] * t[1])[:65_000]),
        ),
        st.sampled_from([FRONT, STRICT, None]),
    )
    def fuzz(body, limits):
        read([MAGIC + body], limits)

    fuzz()


def test_fuzz_headers_by_chance(fuzz_examples):
    """The same by the number: 50,000 unless ``--fuzz-examples`` says otherwise."""
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(2**32))
    print(f"FUZZ_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(fuzz_examples):
        read([hostile_header(chance)], chance.choice((FRONT, STRICT)))


@given(
    st.tuples(TOKENS, st.integers(0, 20_000)).map(lambda t: (t[0] * t[1])[:65_000]),
    st.binary(max_size=100),
)
@settings(max_examples=50)
def test_memory_of_repeated_tokens(body, end):
    assert _peak([MAGIC + body + end], FRONT) <= EXPANSION * MAX_HEADER_BYTES


@given(st.lists(TOKENS, max_size=40).map(b"".join))
def test_the_scan_and_the_builder_agree(body):
    """What the scan lets through is msgpack, but for texts that are no UTF-8."""
    try:
        scan(body, 0, HeaderLimits())
    except ProtocolError:
        return
    try:
        msgpack.unpackb(body)
    except UnicodeDecodeError:
        pass


# -- errors in a header ----------------------------------------------------------------------------
class Odd:
    def __str__(self) -> str:
        raise ValueError


class Huge(int):
    """Of more digits than Python writes."""

    def __pow__(self, power: int) -> "Huge":  # type: ignore[override]
        return Huge(int(self) ** power)

    def __repr__(self) -> str:
        return "Huge"


ANYTHING = st.recursive(
    st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.booleans()
    | st.sampled_from([Odd(), object(), -(2**63) - 1, "\ud800", "€" * 30_000]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(ANYTHING, st.text())
@example("\N{PILE OF POO}" * 100_000, "\N{PILE OF POO}" * 100_000)
@example({str(i): "\N{PILE OF POO}" * 5_000 for i in range(200)}, "\ud800" * 20_000)
@example(["€" * 12_000] * 200, "")
@example([[["x" * 300] * 100] * 100] * 100, "")
@example(bytes(100_000), "")
@example(Huge(10) ** 5_000, "")
def test_any_error_fits_a_header(fact, message):
    error = AgentdError(message, fact=fact)

    answer = unpack(pack(error_message(7, error)))

    assert answer.id == 7
    assert isinstance(from_wire(answer.code, answer.message, answer.facts), AgentdError)


@given(PLAIN)
def test_small_plain_values_stay_as_they_are(value):
    assert fit(value) == _without_none(value)


def _without_none(value):
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


def test_a_long_text_keeps_its_end():
    cut = fit("a" * 100_000 + "the end")

    assert cut.endswith("the end")
    assert cut.startswith("[")
    assert len(cut) < 13_000


def test_facts_that_refer_to_themselves_end():
    loop: list = []
    loop.append(loop)

    pack(error_message(1, AgentdError("loop", fact=loop)))
