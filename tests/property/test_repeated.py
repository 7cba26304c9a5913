"""Headers that repeat: read by what was learnt of one before, they say what they say to others."""

import random
import struct

import msgpack
import pytest

from agentd.errors import ProtocolError
from agentd.protocol import HeaderLimits, pack, unpack
from agentd.protocol.envelope import DEFAULT, _read
from agentd.protocol.messages import (
    Call,
    Create,
    Ping,
    Ready,
    Result,
    Start,
    Started,
    StartFailed,
)
from agentd.protocol.repeated import LONGEST, MOST, learn, recall, write

AGENT, KEY = bytes(range(16)), bytes(range(24))
CALL = Call(1, AGENT, 1, "method", "echo", "data", key=KEY, hold=True, lazy=True, at=12.5)
TIMED = CALL.changed(timeout=3.25)
RESULT = Result(1, "data")
CREATE = Create(1, AGENT, "m:C", "spec", "pickle", code=b"c" * 32, at=12.5, brief=True)
START = Start(AGENT, 1, "m:C", "spec", "pickle", by="*", maker="uid:0")
STARTED = Started(AGENT, 1, 3)
READY = Ready(1, AGENT, "m:C", "w1", "unix:///tmp/w1", 1)
MADE = [CREATE, START, STARTED, READY]
REPEATING = [
    CALL,
    TIMED,
    RESULT,
    Result(7),
    Result(7, "data", held=True),
    CALL.changed(name=""),
    CALL.changed(by="key:1", plain=True),
    *MADE,
    CREATE.changed(parent=AGENT),
    READY.changed(port=5600, key=KEY),
]
OTHERS = [
    CALL.changed(chain=[[AGENT, KEY]]),
    CALL.changed(needs=[["result", KEY, AGENT, "ipc:///x", 1]]),
    CALL.changed(again=True),
    CALL.changed(trace=KEY),
    CALL.changed(agent=b"short"),
    CALL.changed(key=b""),
    CALL.changed(id=2**32),
    CALL.changed(name="x" * (LONGEST + 1)),
    RESULT.changed(id=2**40),
    CREATE.changed(agent=b"short"),
    START.changed(needs=[["result", KEY, AGENT, "ipc:///x", 1]]),
    READY.changed(about={"methods": {"echo": 0}}),
    STARTED.changed(about={"methods": {"echo": 0}}),
    *(each.changed(name="n") for each in (CREATE, START, READY)),
    *(each.changed(options={"mailbox": 1}) for each in (CREATE, START)),
    StartFailed(AGENT, 1, "no"),
    Ping(1, 2.0),
]


def another(message):
    """Like it, but for the first field."""
    return message.changed(agent=bytes(16)) if message in MADE[1:3] else message.renumbered(4711)


def said(raw, limits=DEFAULT):
    """What a header says to a reader who has learnt nothing."""
    try:
        return _read(raw, limits)
    except ProtocolError as error:
        return str(error)


def heard(raw, limits=DEFAULT):
    try:
        return unpack([raw], limits)
    except ProtocolError as error:
        return str(error)


@pytest.mark.parametrize("message", [*REPEATING, *OTHERS], ids=str)
def test_what_is_written_is_read(message):
    for _ in range(3):  # the second time by what was learnt the first time
        assert unpack(pack(message)) == message
        assert said(pack(message)[0]) == message


@pytest.mark.parametrize("message", REPEATING, ids=str)
def test_those_that_repeat_are_read_by_what_was_learnt(message):
    unpack(pack(message))
    again = another(message)
    assert recall(pack(again)[0]) == again


@pytest.mark.parametrize("message", OTHERS, ids=str)
def test_others_have_no_such_form(message):
    assert write(message) is None


def test_every_end_is_taken_from_the_header_itself():
    unpack(pack(CALL))
    other = CALL.changed(id=2**32 - 1, agent=b"\xff" * 16, key=b"\xee" * 24, at=-0.5)
    assert recall(pack(other)[0]) == other
    unpack(pack(TIMED))
    other = other.changed(timeout=1e300)
    assert recall(pack(other)[0]) == other
    for message in MADE:
        unpack(pack(message))
        other = message.changed(agent=b"\xff" * 16)
        if "id" in message.names:
            other = other.changed(id=2**32 - 1)
        assert recall(pack(other)[0]) == other


@pytest.mark.parametrize(
    "limits",
    [DEFAULT, HeaderLimits(), HeaderLimits(items=1, depth=1)],
    ids=["ours", "strangers'", "the strictest"],
)
@pytest.mark.parametrize("message", REPEATING, ids=str)
def test_a_header_that_was_tampered_with_says_the_same_as_to_others(message, limits):
    chance = random.Random(11)
    unpack(pack(message))
    raw = pack(message)[0]
    for _ in range(3_000):
        changed = bytearray(raw)
        for _ in range(chance.choice((1, 1, 2, 5))):
            changed[chance.randrange(len(changed))] = chance.choice((chance.randrange(256), 0xC0))
        cut = chance.choice((0, 0, 0, chance.randrange(len(raw))))
        each = bytes(changed[: len(raw) - cut]) + chance.randbytes(chance.choice((0, 0, 0, 3)))
        assert heard(each, limits) == said(each, limits)


def test_what_is_too_long_is_not_recalled():
    raw = pack(CALL.renumbered(4711))[0]
    unpack([raw])
    assert recall(raw) is not None
    with pytest.raises(ProtocolError, match="at most 60 are read"):
        unpack([raw], HeaderLimits(bytes=60))


def test_no_number_is_read_as_a_time():
    unpack(pack(CALL))
    raw = pack(CALL)[0][:-8] + struct.pack(">d", float("nan"))
    with pytest.raises(ProtocolError, match="wrong type"):
        unpack([raw])


def test_what_only_looks_like_an_end_is_none():
    """The bytes of an end, within a value that nobody knows."""
    for last in (b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"):
        fields = {"kind": "result", "id": 5, "more": b"\xa2id\xce" + last}
        raw = b"AGD1" + msgpack.packb(fields)
        assert raw.endswith(b"\xa2id\xce" + last)
        assert unpack([raw]) == Result(5)


def test_a_key_that_comes_twice_is_refused_though_the_rest_was_learnt():
    unpack(pack(RESULT))
    twice = b"AGD1" + bytes([0x80 | 4]) + pack(RESULT)[0][5:] + b"\xa2id\xce\x00\x00\x00\x01"
    for _ in range(2):
        with pytest.raises(ProtocolError, match="twice"):
            unpack([twice])


def test_what_can_be_changed_is_shared_by_no_two_messages():
    fields = {"kind": "call", "epoch": 1, "op": "method", "needs": [[1]]}
    end = b"\xa2id\xce\x00\x00\x00\x01\xa5agent\xc4\x10" + AGENT + b"\xa3key\xc4\x18" + KEY
    end += b"\xa2at\xcb" + bytes(8)
    raw = b"AGD1" + bytes([0x80 | 8]) + msgpack.packb(fields)[1:] + end
    first, second = unpack([raw]), unpack([raw])
    assert first == second
    assert first.needs is not second.needs


def test_options_that_are_sent_though_they_are_none_are_nobody_elses():
    fields = {name: value for name, value in zip(START.names, START, strict=True) if value != []}
    raw = b"AGD1" + msgpack.packb({"kind": "start", **fields, "options": {}, "agent": AGENT})
    first, second = unpack([raw]), unpack([raw])
    assert first == second == START
    assert first.options is not second.options


def test_what_is_rare_takes_no_room_of_what_repeats():
    from agentd.protocol.repeated import _MADE

    known = dict(_MADE[Create]._known)
    for number in range(100):
        raw = pack(CREATE.changed(name=f"n{number}"))[0]
        body = msgpack.unpackb(raw[4:])
        ends = {name: body.pop(name) for name in ("id", "agent", "at")}
        raw = (
            b"AGD1"
            + msgpack.packb(body)
            + b"".join(
                msgpack.packb(name) + code + value
                for name, code, value in (
                    ("id", b"\xce", ends["id"].to_bytes(4, "big")),
                    ("agent", b"\xc4\x10", ends["agent"]),
                    ("at", b"\xcb", struct.pack(">d", ends["at"])),
                )
            )
        )
        raw = raw[:4] + bytes([raw[4] + 3]) + raw[5:]
        assert unpack([raw]).name == f"n{number}"
    assert _MADE[Create]._known == known


def test_what_is_known_is_bounded():
    for number in range(3 * MOST):
        each = CALL.changed(name=f"m{number}")
        assert unpack(pack(each)) == each
    from agentd.protocol.repeated import _CALL

    assert len(_CALL._known) <= MOST
    assert len(_CALL._written) <= MOST


def test_what_is_long_is_not_learnt():
    long = CALL.changed(name="y" * LONGEST)
    raw = b"AGD1" + msgpack.packb({"kind": "call", **dict(zip(Call.names, long, strict=True))})
    learn(raw, long)
    assert recall(raw) is None
