"""Headers that a stranger might send: good ones, changed at random, and parts put together."""

import random

import msgpack

from agentd.protocol import pack
from agentd.protocol.messages import Ask, Call, Create, Locate, Offer, Ping, Release


def _good() -> list[bytes]:
    call = Call(
        5, bytes(16), 1, "method", "add", "data", key=bytes(24), timeout=1.0, chain=[[b"a", b"b"]]
    )
    messages = (
        Ping(1, 2.5),
        Ask(2, "logs", {"agent": "x", "after": 3, "wait": 1.5}),
        Locate(3, name="n" * 40),
        Create(4, bytes(16), "m:C", "spec", "data", options={"mailbox": 3}),
        call,
        Offer(6, bytes(32)),
        Release(bytes(16), [bytes(24)] * 100),
    )
    return [pack(message)[0] for message in messages]


GOOD = _good()
PARTS = [
    *(bytes([code]) for code in range(256)),
    *(msgpack.packb(word) for word in ("kind", "id", "ping", "call", "agent", "at", "name")),
    b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\x00\x00\x00\x02",
    b"\xc7\x0c\xff" + bytes(12),
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xa2\xff\xfe",
    bytes(30),
]


def hostile_header(chance: random.Random) -> bytes:
    """One of them."""
    shape = chance.random()
    if shape < 0.5:
        return _mutated(bytearray(chance.choice(GOOD)), chance)
    if shape < 0.95:
        return b"AGD1" + b"".join(chance.choices(PARTS, k=chance.randrange(40)))
    if shape < 0.99:
        return b"AGD1" + (chance.choice(PARTS) * chance.randrange(5_000))[:65_000]
    return chance.randbytes(chance.randrange(70))


def _mutated(header: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(4, len(header))
        header[at : at + chance.randint(0, 2)] = chance.choice(PARTS)
    return bytes(header[: chance.randint(5, len(header) + 20)])
