"""A server that is not trusted answers with pickles wherever it can: none of them is read."""

import datetime
import itertools
import os
import pickle
import tempfile
import threading
from pathlib import Path

import msgpack
import pytest
import zmq

import agentd
from agentd.errors import (
    AgentCreationError,
    AgentdError,
    CodecNotAllowed,
    DecodeError,
    RemoteError,
    SerializationError,
)
from tests.integration.conftest import _RUN
from tests.integration.test_roles import Canary

AGENT = bytes(range(16))
numbers = itertools.count()


def ext(code, content):
    return msgpack.ExtType(code, msgpack.packb(content))


class Impostor:
    """Speaks the protocol, and answers each call with what a test puts here."""

    def __init__(self, canary):
        self.folder = tempfile.mkdtemp(prefix="imp", dir=_RUN)
        Path(self.folder).chmod(0o777)  # anybody could listen there
        self.endpoint = f"ipc://{self.folder}/sock{next(numbers)}"
        self.bird = pickle.dumps(Canary(canary))
        self.answer = lambda number: ({"kind": "result", "id": number, "codec": "pickle"}, [b""])
        self.welcome = {}
        self.located = None
        self.calls = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(self.endpoint)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._over.is_set():
            if self._socket.poll(20):
                route, *frames = self._socket.recv_multipart()
                for header, payload in self._answers(msgpack.unpackb(frames[0][4:]), frames[1:]):
                    packed = b"AGD1" + msgpack.packb(header)
                    self._socket.send_multipart([route, packed, *payload])

    def _answers(self, asked, payload):
        number = asked.get("id", 0)
        match asked["kind"]:
            case "hello":
                welcome = {"protocol": 1, "agentd": "0", "python": "3.11.7", "role": "daemon"}
                beats = {"node": "n", "heartbeat_s": 1.0, "grace_s": 10.0, "takes_code": True}
                yield {"kind": "welcome", "id": number, **welcome, **beats, **self.welcome}, []
            case "ping":
                yield {"kind": "pong", "id": number, "now": 0.0}, []
            case "locate" | "create":
                agent = asked.get("agent") or AGENT
                place = {"worker": "w", "address": "unix:///nowhere/w.sock", "epoch": 1}
                about = {"module": "m", "qualname": "C", "methods": {"m": 0, "g": 2}}
                found = {"agent": agent, "cls": "m:C", "about": {**about, "specials": []}, **place}
                yield self.located or ({"kind": "ready", "id": number, **found}, [])
            case "call" | "attach" | "fetch":
                self.calls.append((asked, payload))
                found = self.answer(number)
                yield from found if isinstance(found, list) else [found]
            case "ask":
                yield {"kind": "answer", "id": number}, [self.bird]

    def close(self):
        self._over.set()
        self._thread.join(10)
        self._socket.close(0)
        self._context.term()


@pytest.fixture
def canary(tmp_path):
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def impostor(canary):
    found = Impostor(canary)
    yield found
    found.close()


@pytest.fixture
def agent(impostor):
    return agentd.connect(impostor.endpoint).get("x")


CODECS = ("pickle", "dill:3.11")


@pytest.mark.parametrize("codec", CODECS)
def test_in_a_result(impostor, agent, codec):
    impostor.answer = lambda n: ({"kind": "result", "id": n, "codec": codec}, [impostor.bird] * 2)
    for use in (
        lambda: agent.m(1),
        lambda: agent.m.submit(1).result(10),
        lambda: agent.value,
        lambda: agentd.handle(agent).fetch(),
        lambda: agentd.handle(agent).look("value"),
    ):
        with pytest.raises((CodecNotAllowed, SerializationError), match="private folder"):
            use()
    assert all(asked["plain"] for asked, _ in impostor.calls), "plain data was asked for"


def test_in_a_result_that_is_fetched(impostor, agent):
    def answer(number):
        asked, _ = impostor.calls[-1]
        held = asked["kind"] == "call"
        header = {"kind": "result", "id": number, "codec": "pickle"}
        return ({**header, "held": True}, []) if held else (header, [impostor.bird])

    impostor.answer = answer
    with pytest.raises(CodecNotAllowed):
        agent.m.submit(1).result(10)


@pytest.mark.parametrize("code", ["raised", "AgentCrashed", "Nonsense"])
def test_in_an_error(impostor, agent, code):
    facts = {
        "type_name": "m.Evil",
        "message": "boo",
        "traceback": "none",
        "__class__": 1,
        "args": 2,
    }
    header = {"kind": "error", "code": code, "message": "boo", "facts": facts, "codec": "pickle"}
    impostor.answer = lambda n: ({**header, "id": n}, [impostor.bird])
    for use in (lambda: agent.m(1), lambda: agent.m.submit(1).result(10)):
        with pytest.raises(AgentdError, match="boo") as caught:
            use()
        if code == "raised":
            assert type(caught.value) is RemoteError


def test_in_a_chunk(impostor, agent):
    chunk = {"kind": "chunk", "offset": 0, "items": 1, "codec": "pickle"}
    impostor.answer = lambda n: ({**chunk, "id": n}, [impostor.bird])
    with pytest.raises(CodecNotAllowed):
        next(iter(agent.g(1)))
    with pytest.raises(CodecNotAllowed):
        next(iter(agentd.handle(agent).watch("value")))


def test_in_the_end_of_a_stream(impostor, agent):
    facts = {"type_name": "m.Evil", "message": "boo"}
    header = {
        "kind": "error",
        "code": "raised",
        "message": "boo",
        "facts": facts,
        "codec": "pickle",
    }
    impostor.answer = lambda n: ({**header, "id": n}, [impostor.bird])
    with pytest.raises(RemoteError, match="boo"):
        next(iter(agent.g(1)))


def test_in_an_iterator(impostor, agent):
    impostor.answer = lambda n: (
        {"kind": "result", "id": n, "codec": "iter" if len(impostor.calls) == 1 else "pickle"},
        [msgpack.packb(1) if len(impostor.calls) == 1 else impostor.bird],
    )
    with pytest.raises(CodecNotAllowed):
        next(agent.m(1))


def test_in_a_creation_that_failed(impostor):
    facts = {"cause": {"type_name": "m.Evil", "message": "boo"}, "codec": "pickle"}
    header = {"kind": "error", "id": 2, "code": "AgentCreationError", "message": "boo"}
    impostor.located = ({**header, "facts": facts, "codec": "pickle"}, [impostor.bird])
    with pytest.raises(AgentCreationError) as caught:
        agentd.connect(impostor.endpoint).get("x")
    assert type(caught.value.__cause__) is RemoteError


def test_within_plain_data(impostor, agent):
    """References, arrays and dataclasses that are none, and bytes that are a pickle."""
    bird = impostor.bird
    hostile = [
        ext(16, ["|O", [1], bird[:8], False]),
        ext(16, [bird, [1], bird, False]),
        ext(17, ["os", "system", {"command": "true"}]),
        ext(17, [__name__, "Impostor", {}]),
        ext(14, ["file", bird, bird, bird, bird, bird, bird]),
        ext(14, ["nonsense", bird]),
        ext(14, [bird]),
        ext(99, bird),
        msgpack.ExtType(1, bird),
    ]
    for value in hostile:
        answer = {"kind": "result", "codec": "data"}
        impostor.answer = lambda n, a=answer, v=value: ({**a, "id": n}, [msgpack.packb(v)])
        with pytest.raises(DecodeError):
            agent.m(1)
    impostor.answer = lambda n: ({**answer, "id": n}, [msgpack.packb(bird)])
    assert agent.m(1) == bird, "bytes are bytes"


def test_a_reference_to_somewhere_else_is_not_trusted_more(impostor, agent, canary):
    other = Impostor(canary)
    other.answer = lambda n: ({"kind": "result", "id": n, "codec": "pickle"}, [other.bird])
    try:
        reference = [AGENT, other.endpoint, "m:C", None, None, None, None]
        answer = {"kind": "result", "codec": "data"}
        impostor.answer = lambda n: ({**answer, "id": n}, [msgpack.packb(ext(14, reference))])
        found = agent.m(1)
        with pytest.raises(CodecNotAllowed):
            found.m(1)
        result = ["result", os.urandom(24), AGENT, other.endpoint, 1]
        impostor.answer = lambda n: ({**answer, "id": n}, [msgpack.packb(ext(14, result))])
        with pytest.raises(CodecNotAllowed):
            agent.m(1).result(10)
    finally:
        other.close()


def test_in_an_answer_of_administration(impostor, agent):
    client = agentd.connect(impostor.endpoint)
    for use in (client.info, client.agents, lambda: client.inspect("x")):
        with pytest.raises(Exception) as caught:
            use()
        assert not isinstance(caught.value, AssertionError)


def test_exceptions_are_rebuilt_without_code(impostor, agent):
    told = {
        "module": "tests.integration.gatekeeping",
        "name": "NotForYou",
        "make": ["me"],
        "args": ["me"],
        "attributes": {"when": ext(8, "x")},
        "suppress": False,
    }
    told["attributes"]["when"] = msgpack.ExtType(8, b"2026-01-01")
    header = {"kind": "error", "code": "raised", "message": "m", "facts": {"type_name": "T"}}
    impostor.answer = lambda n: ({**header, "id": n, "codec": "data"}, [msgpack.packb(told)])
    from tests.integration.gatekeeping import NotForYou

    with pytest.raises(NotForYou) as caught:
        agent.m(1)
    assert caught.value.when == datetime.date(2026, 1, 1)
    for module, name in (("builtins", "SystemExit"), ("builtins", "eval"), ("os", "system")):
        told |= {"module": module, "name": name}
        with pytest.raises(RemoteError):
            agent.m(1)


def test_the_same_server_in_a_private_folder_is_this_users_own(impostor, canary):
    """What makes the difference is who could listen there, not what the server says."""
    Path(impostor.folder).chmod(0o700)
    impostor.answer = lambda n: (
        {"kind": "result", "id": n, "codec": "pickle"},
        [pickle.dumps({"plain": (1, 2)})],
    )
    assert agentd.connect(impostor.endpoint).get("x").m(1) == {"plain": (1, 2)}
