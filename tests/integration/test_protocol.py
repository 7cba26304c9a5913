"""A client written from docs/protocol.md alone: zmq, sockets, msgpack, and nothing of ours."""

import itertools
import os
import socket
import struct
import sys
import threading

import msgpack
import pytest
import zmq

import agentd
from agentd.errors import VersionMismatch

TUPLE = 1


class Dealer:
    """A connection to a daemon."""

    def __init__(self, endpoint):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(endpoint)

    def send(self, frames):
        self.socket.send_multipart(frames)

    def receive(self):
        assert self.socket.poll(10_000), "no answer"
        return self.socket.recv_multipart()

    def close(self):
        self.socket.close(0)
        self.context.term()


class Stream:
    """A connection to a worker of this host."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(address.removeprefix("unix://"))

    def send(self, frames):
        lengths = struct.pack(f"<HH{len(frames)}Q", len(frames), 0, *map(len, frames))
        self.socket.sendall(lengths + b"".join(frames))

    def receive(self):
        count, shared = struct.unpack("<HH", self._read(4))
        assert shared == 0
        return [self._read(n) for n in struct.unpack(f"<{count}Q", self._read(8 * count))]

    def _read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "the connection ended"
            data += part
        return data

    def close(self):
        self.socket.close()


class RawClient:
    """One connection to one peer."""

    def __init__(self, endpoint, peer=None, **hello):
        self.peer = peer or (Stream if endpoint.startswith("unix://") else Dealer)(endpoint)
        self.numbers = itertools.count(1)
        self.hello = {
            "protocol": 1,
            "agentd": "0.0-by-hand",
            "python": "none",
            "dill": None,
            "session": os.urandom(16),
            "pid": os.getpid(),
            "host": "by hand",
            "started": "now",
            "role": "client",
            **hello,
        }

    def send(self, kind, payload=(), **keys):
        number = next(self.numbers)
        header = b"AGD1" + msgpack.packb({"kind": kind, "id": number, **keys})
        self.peer.send([header, *payload])
        return number

    def receive(self):
        while True:
            frames = self.peer.receive()
            assert frames[0][:4] == b"AGD1"
            header = msgpack.unpackb(frames[0][4:])
            if header["kind"] != "ping":
                return header, frames[1:]
            pong = {"kind": "pong", "id": header["id"], "now": 0.0}  # what came before was read
            self.peer.send([b"AGD1" + msgpack.packb(pong)])

    def ask(self, kind, payload=(), **keys):
        number = self.send(kind, payload, **keys)
        header, payload = self.receive()
        assert header["id"] == number
        return header, payload

    def meet(self):
        header, _ = self.ask("hello", **self.hello)
        return header

    def close(self):
        self.peer.close()


@pytest.fixture
def connect():
    made = []

    def connect(endpoint, **hello):
        made.append(RawClient(endpoint, **hello))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def data(value):
    return [msgpack.packb(value)]


def test_create_and_call_by_hand(connect, shared):
    # Given
    client = connect(shared.endpoint)
    welcome = client.meet()
    assert (welcome["kind"], welcome["protocol"], welcome["role"]) == ("welcome", 1, "daemon")
    assert welcome["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"node", "heartbeat_s", "grace_s", "agentd", "dill"} <= welcome.keys()
    # When an agent is made
    agent = os.urandom(16)
    path = "tests.integration.agents:Counter"
    client.send(
        "create",
        data([path, [5], {}]),
        agent=agent,
        cls=path,
        mode="spec",
        codec="data",
        name=None,
        lifetime="client",
        placement="shared",
        get_if_exists=False,
        ack=True,
        parent=None,
    )
    accepted, _ = client.receive()
    ready, _ = client.receive()
    # Then
    assert (accepted["kind"], accepted["agent"]) == ("accepted", agent)
    assert (ready["kind"], ready["agent"], ready["epoch"]) == ("ready", agent, 1)
    assert ready["cls"] == path
    assert "add" in ready["about"]["methods"]
    assert ready["about"]["qualname"] == "Counter"
    # When it is called, straight at its worker and through the daemon
    worker = connect(ready["address"], session=client.hello["session"])
    assert worker.meet()["role"] == "worker"
    for peer, expected in ((worker, 6), (client, 7)):
        result, payload = peer.ask(
            "call", data([[1], {}]), agent=agent, epoch=1, op="method", name="add", codec="data"
        )
        # Then
        assert (result["kind"], result["codec"]) == ("result", "data")
        assert msgpack.unpackb(payload[0]) == expected
        assert peer.ask("ping")[0]["kind"] == "pong"

    # And the other operations
    def call(op, name, payload=(), codec=""):
        return worker.ask("call", payload, agent=agent, epoch=1, op=op, name=name, codec=codec)

    assert msgpack.unpackb(call("get", "value")[1][0]) == 7
    assert call("set", "value", data(9), "data")[0]["kind"] == "result"
    assert msgpack.unpackb(call("get", "value")[1][0]) == 9
    assert "add" in msgpack.unpackb(call("dir", "")[1][0])
    assert call("del", "value")[0]["kind"] == "result"
    refused, _ = call("get", "value")
    assert (refused["kind"], refused["facts"]["type_name"]) == ("error", "AttributeError")
    refused, _ = call("get", "_private")
    assert refused["kind"] == "error"
    # And values as they are, those included that msgpack has no form of
    value = {"list": [1, -2.5, None, True, "ü", b"\0"], "map": {}}
    assert msgpack.unpackb(call("method", "echo", data([[value], {}]), "data")[1][0]) == value
    pair = msgpack.ExtType(TUPLE, msgpack.packb([1, 2]))
    echoed, _ = call("method", "echo", data([[pair], {}]), "data")
    assert echoed["kind"] == "result"
    # And administration
    answer, payload = client.ask("ask", what="agent", params={"agent": agent.hex()})
    assert answer["kind"] == "answer"
    assert msgpack.unpackb(payload[0])["id"] == agent.hex()
    located, _ = client.ask("locate", agent=agent)
    assert (located["kind"], located["address"]) == ("ready", ready["address"])
    answer, _ = client.ask("ask", what="delete", params={"agent": agent.hex()})
    assert answer["kind"] == "answer"
    gone, _ = client.ask("locate", agent=agent)
    assert (gone["kind"], gone["code"]) == ("error", "AgentNotFound")
    gone, _ = call("method", "add", data([[1], {}]), "data")
    assert (gone["kind"], gone["code"]) == ("error", "AgentNotFound")


def test_iterators_by_hand(connect, shared):
    ready = agentd.handle(Streamer(to_dist=shared.endpoint)).wait(30)
    client = connect(shared.endpoint)
    client.meet()
    agent = bytes.fromhex(ready.id)

    def call(op, name, payload=(), codec=""):
        return client.ask("call", payload, agent=agent, epoch=1, op=op, name=name, codec=codec)

    result, payload = call("method", "stream", data([[3], {}]), "data")
    assert result["codec"] == "iter"
    number = str(msgpack.unpackb(payload[0]))
    result, payload = call("next", number)
    assert result["codec"] == "data"
    assert msgpack.unpackb(payload[0]) == [[0, 1, 2], True]
    assert call("close", number)[0]["kind"] == "result"


class Streamer(agentd.Agent):
    def stream(self, n):
        yield from range(n)


def test_nothing_is_answered_before_hello(connect, shared):
    client = connect(shared.endpoint)
    answer, _ = client.ask("ask", what="info", params={})
    assert (answer["kind"], answer["code"]) == ("error", "ProtocolError")
    assert client.meet()["kind"] == "welcome"
    assert client.ask("ask", what="info", params={})[0]["kind"] == "answer"


@pytest.mark.parametrize("peer", ["daemon", "worker"])
def test_another_protocol_is_refused_with_both_versions(connect, shared, peer):
    # Given
    endpoint = shared.endpoint
    if peer == "worker":
        known = connect(endpoint)
        known.meet()
        agent = agentd.handle(Streamer(to_dist=endpoint)).wait(30)
        endpoint = known.ask("locate", agent=bytes.fromhex(agent.id))[0]["address"]
    client = connect(endpoint, protocol=99, agentd="9.9", python="3.99.1")
    # When
    refused = client.meet()
    # Then
    assert (refused["kind"], refused["code"]) == ("error", "VersionMismatch")
    for part in ("protocol 99", "9.9", "3.99.1", "protocol 1", agentd.__version__):
        assert part in refused["message"]
    assert refused["facts"].keys() >= {"local", "remote"}


def test_a_daemon_of_another_protocol_is_a_version_mismatch_here(short):
    # Given a daemon of the future
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{short}/future.sock")

    def answer():
        while router.poll(10_000):
            peer, frame, *_ = router.recv_multipart()
            hello = msgpack.unpackb(frame[4:])
            said = {
                "kind": "error",
                "id": hello["id"],
                "code": "VersionMismatch",
                "message": f"the client runs protocol {hello['protocol']}, this is protocol 99",
                "facts": {"local": str(hello["protocol"]), "remote": "99"},
            }
            router.send_multipart([peer, b"AGD1" + msgpack.packb(said)])
            return

    thread = threading.Thread(target=answer)
    thread.start()
    # Then
    with pytest.raises(VersionMismatch, match="protocol 1, this is protocol 99") as caught:
        agentd.connect(f"ipc://{short}/future.sock").info()
    assert (caught.value.local, caught.value.remote) == ("1", "99")
    thread.join()
    router.close(0)
    context.term()


def test_a_payload_of_another_python_is_refused_while_plain_data_works(connect, shared):
    # Given
    client = connect(shared.endpoint)
    client.meet()
    agent = bytes.fromhex(agentd.handle(Streamer(to_dist=shared.endpoint)).wait(30).id)
    keys = {"agent": agent, "epoch": 1, "op": "method", "name": "stream"}
    mine = ".".join(map(str, sys.version_info[:2]))
    # When
    refused, _ = client.ask("call", [b"anything"], codec="dill:3.99", **keys)
    # Then
    assert (refused["kind"], refused["code"]) == ("error", "VersionMismatch")
    assert "3.99" in refused["message"]
    assert mine in refused["message"]
    assert (refused["facts"]["local"], refused["facts"]["remote"]) == (mine, "3.99")
    assert client.ask("call", data([[1], {}]), codec="data", **keys)[0]["kind"] == "result"
    # and so is an agent
    failed, _ = client.ask(
        "create", [b"x"], agent=os.urandom(16), cls="a:B", mode="live", codec="dill:3.99"
    )
    assert (failed["kind"], failed["code"]) == ("error", "AgentCreationError")
    assert "3.99" in failed["message"]
    assert mine in failed["message"]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"AGD1"],
        [b"AGD2\x80"],
        [b"AGD1\xff"],
        [b"AGD1" + msgpack.packb([1])],
        [b"AGD1" + msgpack.packb({"kind": "call"})],
        [b"AGD1" + msgpack.packb({"kind": "nonsense", "id": 1})],
        [b"AGD1" + msgpack.packb({"kind": "ping", "id": "text"})],
        [b"AGD1" + msgpack.packb({"kind": "ping", "id": True})],
        [b"AGD1" + b"\x81" * 70_000],
        [b"x"] * 1100,
    ],
    ids=range(11),
)
def test_rubbish_harms_nobody(connect, shared, frames):
    client = connect(shared.endpoint)
    client.meet()
    client.peer.send(frames)
    client.send("ping")
    while (answer := client.receive()[0])["kind"] != "pong":
        assert (answer["kind"], answer["code"]) == ("error", "ProtocolError")
    assert shared.client.ping() < 30


@pytest.mark.parametrize(
    "payload", [[], [b""], [b"\xc1"], data(5), data([1, 2]), data([[], {"x": 1}, 3])]
)
def test_a_payload_that_is_none_is_refused_at_once(connect, shared, payload):
    client = connect(shared.endpoint)
    client.meet()
    agent = bytes.fromhex(agentd.handle(Streamer(to_dist=shared.endpoint)).wait(30).id)
    keys = {"agent": agent, "epoch": 1, "op": "method", "name": "stream", "codec": "data"}
    refused, _ = client.ask("call", payload, **keys)
    assert refused["kind"] == "error"
    assert client.ask("call", data([[1], {}]), **keys)[0]["kind"] == "result"


def test_unknown_keys_are_ignored(connect, shared):
    client = connect(shared.endpoint, colour="blue")
    assert client.meet()["kind"] == "welcome"
    assert client.ask("ping", taste="sweet")[0]["kind"] == "pong"
