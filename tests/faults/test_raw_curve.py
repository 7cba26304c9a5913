"""Peers over TCP that speak CURVE by hand: they claim to be others, or never finish."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
import zmq
from zmq.utils import z85

import agentd
from agentd import keys
from agentd.keys import Role
from agentd.protocol import pack, unpack
from agentd.protocol.messages import Ask, Create, Error, Ping, Pong, Welcome
from agentd.transport.faults import FIRST_S
from agentd.transport.pieces import PIECE, cut
from benchmarks.hostile.curve import DEALER, CurveClient, metadata
from tests.faults.harness import wait_until
from tests.faults.test_hostile_peers import beside, counters
from tests.faults.victims import Victim
from tests.faults.zmtp import introduction
from tests.machine import needs_ipv6

MIB = 1024 * 1024
PART = PIECE - 1
"""Bytes of the longest part of a frame after which another frame may begin."""


@pytest.fixture
def door(door):
    """One through which its client may come."""
    door.grant()
    return door


class Peer:
    """A connection over TCP by a plain socket."""

    def __init__(self, door, secret, said=DEALER):
        host, _, port = door.endpoint.removeprefix("tcp://").rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=30)
        self._curve = CurveClient(door.pair.public, secret, said)
        try:
            self.told = self._curve.meet(self.socket)
        except BaseException:
            self.socket.close()
            raise

    def say(self, message, payload=()):
        self.socket.sendall(self._curve.message(cut([*pack(message), *payload])))

    def answer(self):
        return unpack(self._curve.read(self.socket))

    def send_parts(self, part, times):
        """Parts of a message that is not finished; False once the daemon has ended it.

        It may do so without a word to this side, while it still holds the connection.
        """
        try:
            for _ in range(times):
                self.socket.sendall(self._curve.message(part, finished=False))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False
        return True

    def flood(self, times):
        """Pings and heartbeats, none answered; False once the daemon has ended the connection."""
        try:
            for number in range(100, times + 100):
                more = self._curve.message(pack(Ping(number))) + self._curve.ping()
                self.socket.sendall(more)
        except OSError:
            return False
        return True

    def reset(self):
        """Break off, without a goodbye."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def is_ended(self):
        with contextlib.suppress(OSError):
            while self.socket.recv(65_536):
                pass
        return True

    def close(self):
        self.socket.close()


@pytest.fixture
def meet(door):
    met = []

    def meet(secret, **said):
        met.append(Peer(door, secret, DEALER + metadata(**said)))
        return met[-1]

    yield meet
    for one in met:
        one.close()


# -- somebody else's name --------------------------------------------------------------------------
@pytest.fixture
def observer(door, tmp_path):
    """Somebody who may look, and nothing else."""
    pair = keys.make_pair(str(tmp_path / "observer"), "client", "observer")
    door.grant(pair, "observer", roles=frozenset({Role.OBSERVER}))
    return pair


CLAIMS = {
    "an admin's key": lambda door: door.who,
    "the daemon's own user": lambda _door: f"uid:{os.geteuid()}",
    "everybody": lambda _door: "*",
    "nobody": lambda _door: "",
}


@pytest.mark.parametrize("name", ["User_Id", "user_id", "USER_ID"])
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_user_id_that_a_peer_says_itself_is_not_believed(door, observer, meet, name, claim):
    door.open(door.build)
    honest = meet(door.me.secret)
    honest.say(introduction())
    assert isinstance(honest.answer(), Welcome)
    honest.say(Ask(2, "info"))
    assert not isinstance(honest.answer(), Error)

    forger = meet(observer.secret, **{name: claim(door).encode()})
    forger.say(introduction())
    welcome = forger.answer()
    forger.say(Create(3, os.urandom(16), "tests.faults.victims:Victim", "spec", "data"), [b"\x90"])
    refused = forger.answer()

    assert isinstance(welcome, Welcome)  # it has a grant: its own
    assert not welcome.takes_code
    assert (refused.id, refused.code) == (3, "NotAllowed")
    assert refused.facts["who"] == keys.who_of(observer.public)
    assert agentd.connect(door.daemon.endpoint).agents() == []


def test_who_has_no_key_is_not_let_in_by_any_claim(door, meet):
    door.open(door.build)
    for claim in CLAIMS.values():
        with pytest.raises(OSError):
            meet(os.urandom(32), User_Id=claim(door).encode())
    assert counters(door.daemon)["handshakes_failed"] >= len(CLAIMS)


def test_an_address_that_a_peer_says_itself_is_not_believed(door, meet):
    """Who sends nonsense is named in the log by where it came from."""
    door.open(door.build, max_malformed=1)
    forger = meet(door.me.secret, Peer_Address=b"203.0.113.7")
    forger.socket.sendall(forger._curve.message([b"nonsense"]))
    assert forger.is_ended()
    wait_until(lambda: counters(door.daemon)["disconnected_malformed"] == 1, "it to be counted")
    assert "203.0.113.7" not in door.daemon.said()
    assert "127.0.0.1" in door.daemon.said()


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_who_is_shut_out_waits_for_its_next_handshake(door, observer, meet, host):
    door.open(door.build, host, max_malformed=1)
    peer = meet(observer.secret)
    peer.socket.sendall(peer._curve.message([b"nonsense"]))
    assert peer.is_ended()
    ended = time.monotonic()

    again = meet(observer.secret)

    assert time.monotonic() - ended > FIRST_S - 0.2  # it was ended a moment after it was shut out
    again.say(introduction())
    assert isinstance(again.answer(), Welcome)
    assert counters(door.daemon)["disconnected_malformed"] == 1


# -- messages that never end -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("part", "times"),
    [([bytes(PART)], 400 * MIB // PART), ([b""] * 500, 4_000)],
    ids=["long", "empty"],
)
def test_one_who_never_finishes_a_message_over_tcp_is_disconnected(door, meet, part, times):
    # It says nothing whole, which would renew its lease: not that is to end it here.
    door.open(door.build, max_memory_bytes=160 * MIB, client_grace_s=120.0)
    agent = Victim(to_dist=door.daemon.endpoint)
    assert agent.add() == 1
    peer = meet(door.me.secret)
    peer.say(introduction())
    assert isinstance(peer.answer(), Welcome)
    with beside(door.daemon, "one who never finishes, over TCP"):
        peer.send_parts(part, times)
        assert peer.is_ended()
        wait_until(lambda: counters(door.daemon)["disconnected_memory"] >= 1, "it to be counted")

    said = door.daemon.said()
    assert "127.0.0.1:" in said
    assert "sends without finishing a message" in said or "no sign of life" in said
    wait_until(lambda: counters(door.daemon)["memory_bytes"] < 160 * MIB, "its memory to come back")
    assert agent.add() == 2


def test_one_who_stops_in_the_middle_of_a_message_over_tcp_holds_up_nobody(door, meet):
    """It stays: it costs little. But nobody waits for it, and its place is given back."""
    door.open(door.build)
    usual = counters(door.daemon)["connections"]
    peers = [meet(door.me.secret) for _ in range(20)]
    for peer in peers:
        peer.say(introduction())
        assert isinstance(peer.answer(), Welcome)
        assert peer.send_parts([bytes(1000)], 3)
    assert Victim(to_dist=door.daemon.endpoint).add() == 1
    for peer in peers:
        peer.close()
    wait_until(lambda: counters(door.daemon)["connections"] <= usual, "them to be forgotten")


# -- clients that fall silent ----------------------------------------------------------------------
SLEEPER = """
import sys, time, agentd
print(agentd.connect(sys.argv[1]).info()["pid"], flush=True)
time.sleep(600)
"""


def test_a_client_that_stands_still_is_disconnected_when_its_lease_ends(door):
    """The daemon has no heartbeats of libzmq's that would tell, and the kernel answers probes."""
    endpoint = door.open(door.build, client_grace_s=2.0)
    usual = counters(door.daemon)["connections"]
    with subprocess.Popen([sys.executable, "-c", SLEEPER, endpoint], stdout=subprocess.PIPE) as one:
        try:
            assert int(one.stdout.readline()) == door.daemon.process.pid
            assert counters(door.daemon)["connections"] == usual + 1
            one.send_signal(signal.SIGSTOP)
            gone = lambda: counters(door.daemon)["connections"] == usual  # noqa: E731
            wait_until(gone, "it to be disconnected")
        finally:
            one.kill()


# -- floods ----------------------------------------------------------------------------------------
def test_who_floods_and_breaks_off_does_not_end_the_daemon(door, meet):
    """libzmq 4.3.5 aborts its process then, if it stopped to read where a heartbeat comes next."""
    door.open(door.build)
    for _ in range(5):
        peer = meet(door.me.secret)
        peer.say(introduction())
        assert isinstance(peer.answer(), Welcome)
        peer.flood(3_000)
        time.sleep(0.2)
        peer.reset()
    time.sleep(0.2)
    assert door.daemon.process.poll() is None, door.daemon.said()
    # A first question may be read before libzmq tells of its connection.
    wait_until(lambda: counters(door.daemon)["connections"] >= 1, "this one to be counted")


def test_one_who_sends_far_more_than_is_read_is_held_up(door, meet):
    """Pings are answered slowly to who sends them by the hundred: what waits is bounded."""
    door.open(door.build, max_message_bytes=MIB, client_bytes=16 * MIB, client_calls=100)
    agent = Victim(to_dist=door.daemon.endpoint)
    usual = counters(door.daemon)["memory_bytes"]
    most = []
    with beside(door.daemon, "a flood over TCP") as polite:
        for number in (1, 2):
            peer = meet(door.me.secret)
            peer.say(introduction())
            assert isinstance(peer.answer(), Welcome)
            peer.socket.settimeout(0.5)
            assert not peer.flood(1_000_000)  # it could not go on
            most.append(counters(door.daemon)["memory_bytes"])
            assert counters(door.daemon)["held_up"] >= number
        assert polite.took
    assert max(most) - usual < 4 * 16 * MIB
    assert "is held up" in door.daemon.said()
    assert agent.add() == 1


def test_what_one_who_is_held_up_has_sent_is_not_lost(door, meet):
    door.open(door.build)
    peer = meet(door.me.secret)
    peer.say(introduction())
    assert isinstance(peer.answer(), Welcome)
    numbers = range(100, 900)
    for number in numbers:
        peer.say(Ping(number))
    answered = []
    while len(answered) < len(numbers):
        answer = peer.answer()
        if isinstance(answer, Pong):
            answered.append(answer.id)
        else:  # has this side read what came before?
            peer.say(Pong(answer.id))
    assert answered == list(numbers)
    assert counters(door.daemon)["held_up"] >= 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_where_connections_come_to_nothing_fewer_are_let_in(door, host):
    """Of those who come one after the other nearly all wait; who comes once gets in."""
    endpoint = door.open(door.build, host=f"[{host}]" if ":" in host else host)
    port = int(endpoint.rpartition(":")[2])
    agent = agentd.connect(endpoint).create("tests.faults.victims:Victim")
    assert agent.add() == 1
    made = 0
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        try:
            socket.create_connection((host, port), timeout=0.2).close()
            made += 1
        except TimeoutError:
            pass
    assert counters(door.daemon)["thinned_out"] >= 1
    assert 200 <= made < 5_000
    assert agent.add() == 2  # who is in does not notice
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import agentd, sys; print(agentd.connect(sys.argv[1]).ping())",
            endpoint,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout


@pytest.mark.parametrize(
    "settings", [{}, {"worker_ports": "22000-22999"}], ids=["relayed", "direct"]
)
def test_long_values_go_in_pieces(door, settings):
    """Both ways, as bytes and as what may be written to."""
    agent = agentd.connect(door.open(door.build, **settings)).create("tests.faults.victims:Victim")
    for length in (PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * MIB + 5):
        content = os.urandom(length)
        assert agent.echo(content) == content
        assert agent.echo(bytearray(content)) == content


def test_a_frame_that_is_longer_than_a_piece_ends_the_connection(door, meet):
    door.open(door.build)
    whole = meet(door.me.secret)
    whole.say(introduction())
    assert isinstance(whole.answer(), Welcome)
    whole.socket.sendall(whole._curve.message([*pack(Ask(2, "info")), bytes(PIECE), b""]))
    assert whole.answer().id == 2
    whole.socket.sendall(whole._curve.message([*pack(Ask(3, "info")), bytes(PIECE + 1)]))
    assert whole.is_ended()


def test_a_burst_of_an_honest_program_is_served(door, monkeypatch):
    """Nearly all that it may have open at once, in one go."""
    monkeypatch.setenv("AGENTD_CONFIG_DIR", door.client)
    slow = {"client_grace_s": 60, "heartbeat_s": 5.0}  # on however slow a machine
    agent = Victim(to_dist=door.open(door.build, **slow))
    assert agent.add() == 1
    calls = [agent.add.submit() for _ in range(15_000)]
    # Sorted: some come too late on a busy machine, are refused, and sent again.
    assert sorted(call.result() for call in calls) == list(range(2, 15_002))
    assert counters(door.daemon)["disconnected_backlog"] == 0


def test_the_client_by_hand_is_one_as_any_other(door, meet):
    """What the others of this file show rests on it."""
    door.open(door.build)
    peer = meet(door.me.secret)
    peer.say(introduction())
    assert isinstance(peer.answer(), Welcome)
    for number in range(2, 50):
        peer.say(Ask(number, "info"))
        assert peer.answer().id == number
    assert b"Socket-Type" in peer.told


def test_what_is_claimed_here_would_be_believed_where_nobody_asks_for_keys():
    """The claims of this file arrive: libzmq takes them over, if no authenticator says better."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as unguarded:
        unguarded.linger = 0
        unguarded.curve_server = True
        unguarded.curve_secretkey = secret
        port = unguarded.bind_to_random_port("tcp://127.0.0.1")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            said = DEALER + metadata(User_Id=b"key:admin")
            curve = CurveClient(z85.decode(public), os.urandom(32), said)
            curve.meet(peer)
            peer.sendall(curve.message([b"hello"]))
            assert unguarded.poll(30_000)
            frame = unguarded.recv_multipart(copy=False)[-1]
            assert (frame.bytes, frame.get("User-Id")) == (b"hello", "key:admin")
