"""A second process that rebuilds payloads and answers questions about them."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import msgpack
import pytest

from agentd.serialization import Encoded, decode

_PROGRAM = """
import sys, msgpack, traceback
from agentd.serialization import decode, encode, encode_error
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
sys.stdout = sys.stderr
names = {"encode": encode, "decode": decode}
while size := stdin.read(4):
    request = msgpack.unpackb(stdin.read(int.from_bytes(size, "big")))
    codec, head, buffers, name, question, options = request
    encoded = None
    try:
        if codec:
            names[name] = decode(codec, head, buffers, **options)
        answer = eval(question, names) if question else None
        encoded = encode(answer)
        facts = None
    except BaseException as exc:
        facts, encoded = encode_error(exc)
    answer = encoded and [encoded.codec, encoded.head, [bytes(b) for b in encoded.buffers]]
    frame = msgpack.packb([facts, answer])
    stdout.write(len(frame).to_bytes(4, "big") + frame)
    stdout.flush()
"""


class Receiver:
    """Payloads sent to it get a name there; `ask` evaluates an expression over them."""

    def __init__(self, path: str | None = None) -> None:
        environment = {"PYTHONPATH": ":".join([*filter(None, [path]), _root()])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def put(self, encoded: Encoded, name: str = "v", **options: object) -> None:
        self._send(encoded, name, "", options)

    def ask(self, question: str) -> object:
        return self._send(None, "", question, {})

    def _send(self, encoded: Encoded | None, name: str, question: str, options: dict) -> object:
        codec, head, buffers = encoded or (None, b"", [])
        request = [codec, head, [bytes(b) for b in buffers], name, question, options]
        frame = msgpack.packb(request)
        self.process.stdin.write(len(frame).to_bytes(4, "big") + frame)
        self.process.stdin.flush()
        size = int.from_bytes(self.process.stdout.read(4), "big")
        facts, answer = msgpack.unpackb(self.process.stdout.read(size))
        if facts is not None:
            raise AssertionError(facts["traceback"])
        return decode(*answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


def _root() -> str:
    import agentd

    return agentd.__path__[0].rpartition("/")[0]


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def start_receiver() -> Iterator[Callable[[str], Receiver]]:
    """Starts receivers that find modules in a folder."""
    made: list[Receiver] = []

    def start(path: str) -> Receiver:
        made.append(Receiver(path))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def receiver_with_path(start_receiver: Callable[[str], Receiver], tmp_path: object) -> Receiver:
    return start_receiver(str(tmp_path))
