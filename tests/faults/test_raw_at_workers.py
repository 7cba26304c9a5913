"""Peers that speak CURVE by hand at a worker's own door: it is as that of the daemon."""

import contextlib
import os
import socket
import time
from pathlib import Path

import msgpack
import pytest

import agentd
from agentd import keys
from agentd.keys import Role
from agentd.protocol import pack
from agentd.protocol.messages import Call, Error, Ping, Pong, Result, Welcome
from agentd.transport.pieces import PIECE
from benchmarks.hostile.curve import DEALER, metadata
from tests.faults.harness import wait_until
from tests.faults.test_hostile_peers import counters
from tests.faults.test_raw_curve import CLAIMS, MIB, PART, Peer
from tests.faults.test_worker_doors import PORTS, AtWorker, connections_to, place
from tests.faults.victims import Victim
from tests.faults.zmtp import Polite, introduction


@pytest.fixture
def door(door):
    """One through which its client may come."""
    door.grant()
    return door


class Site:
    """An agent over TCP, and connections by hand to its worker."""

    def __init__(self, door, **settings):
        endpoint = door.open(door.build, worker_ports=PORTS, **settings)
        self.door = door
        self.agent = agentd.connect(endpoint).create("tests.faults.victims:Victim")
        assert self.agent.add() == 1
        self.place = place(door, self.agent)
        self.met = []

    def connect(self):
        """A plain connection, that says nothing."""
        plain = socket.create_connection(("127.0.0.1", self.place.port), timeout=30)
        self.met.append(plain)
        return plain

    def meet(self, secret, *, greet=True, **said):
        peer = Peer(AtWorker(self.place), secret, DEALER + metadata(**said))
        self.met.append(peer)
        if greet:
            peer.say(introduction())
            assert isinstance(peer.answer(), Welcome)
        return peer

    def call(self, number, name, *args, **more):
        call = Call(number, self.place.agent, self.place.epoch, "method", name, "data", **more)
        return call, [msgpack.packb([list(args), {}])]

    def close(self):
        for peer in self.met:
            peer.close()


@pytest.fixture
def opened(door):
    made = []

    def build(**settings):
        made.append(Site(door, **settings))
        return made[-1]

    yield build
    for site in made:
        site.close()


# -- somebody else's name --------------------------------------------------------------------------
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_user_id_that_a_peer_says_itself_is_not_believed(door, opened, tmp_path, claim):
    observer = keys.make_pair(str(tmp_path / "observer"), "client", "observer")
    door.grant(observer, "observer", roles=frozenset({Role.OBSERVER}))
    site = opened()
    honest = site.meet(door.me.secret)
    honest.say(*site.call(2, "add"))
    assert isinstance(honest.answer(), Result)
    forger = site.meet(observer.secret, User_Id=claim(door).encode())
    forger.say(*site.call(2, "add", by="*"))
    refused = forger.answer()
    assert (refused.id, refused.code) == (2, "NotAllowed")
    assert refused.facts["who"] == keys.who_of(observer.public)
    assert site.agent.add() == 3


def test_who_has_no_key_is_not_let_in_by_any_claim(door, opened):
    site = opened()
    for claim in CLAIMS.values():
        with pytest.raises(OSError):
            site.meet(os.urandom(32), User_Id=claim(door).encode())
    for secret in (door.pair.secret, os.urandom(32)):  # the daemon's own is no client's
        with pytest.raises(OSError):
            site.meet(secret)


# -- who says nothing, or nonsense -----------------------------------------------------------------
def test_nonsense_is_answered_and_then_ends_the_connection(door, opened):
    site = opened(max_malformed=5)
    peer = site.meet(door.me.secret)
    for _ in range(5):
        peer.socket.sendall(peer._curve.message([b"nonsense"]))
    codes = set()
    with contextlib.suppress(OSError, EOFError):
        while True:
            codes.add(peer.answer().code)
    assert codes == {"ProtocolError"}
    wait_until(lambda: connections_to(site.place.port) <= 1, "it to be disconnected")
    wait_until(lambda: counters(door.daemon)["disconnected_malformed"] == 1, "it to be counted")
    assert counters(door.daemon)["malformed"] == 5
    again = site.meet(door.me.secret, greet=False)  # nothing of it is read for a second
    again.say(introduction())
    assert again.is_ended()
    assert site.agent.add() == 2


def test_who_says_nothing_has_little_time(opened):
    site = opened(handshake_s=0.5)
    began = time.monotonic()
    mute = [site.connect() for _ in range(10)]
    for each in mute:
        each.settimeout(30)
        while each.recv(4096):
            pass
    assert time.monotonic() - began < 20
    assert site.agent.add() == 2


def test_connections_too_many_are_closed(door, opened):
    site = opened(max_connections=5, handshake_s=60.0)
    peers = [site.meet(door.me.secret) for _ in range(3)]
    for _ in range(20):
        site.connect()
    wait_until(lambda: connections_to(site.place.port) <= 5, "those too many to be closed")
    for number, peer in enumerate(peers, 2):
        peer.say(*site.call(7, "add"))
        assert isinstance(peer.answer(), Result), number
    assert site.agent.add() == 5


def test_who_stops_in_the_middle_of_a_message_holds_up_nobody(door, opened):
    site = opened()
    peers = [site.meet(door.me.secret) for _ in range(20)]
    for peer in peers:
        assert peer.send_parts([bytes(1000)], 3)
    assert site.agent.add() == 2
    for peer in peers:
        peer.close()
    wait_until(lambda: connections_to(site.place.port) <= 1, "them to be forgotten")


@pytest.mark.parametrize(
    ("part", "times"),
    [([bytes(PART)], 400 * MIB // PART), ([b""] * 500, 8_000)],
    ids=["long", "empty"],
)
def test_who_never_finishes_a_message_is_disconnected(door, opened, part, times):
    site = opened(max_message_bytes=16 * MIB, client_bytes=16 * MIB, client_calls=1000)
    peer = site.meet(door.me.secret)
    worker = door.daemon.client.info()["workers"][0]["pid"]
    before = resident(worker)
    peer.send_parts(part, times)
    assert peer.is_ended()
    wait_until(lambda: resident(worker) < before + 64 * MIB, "its memory to come back")
    assert site.agent.add() == 2


def test_many_who_never_finish_are_not_more_together_than_one_may_have_open(door, opened):
    site = opened(max_message_bytes=16 * MIB, client_bytes=16 * MIB, daemon_bytes=32 * MIB)
    peers = [site.meet(door.me.secret) for _ in range(6)]
    for peer in peers:
        peer.send_parts([bytes(PART)], 10 * MIB // PART)
    wait_until(lambda: connections_to(site.place.port) <= 4, "some of them to be disconnected")
    assert site.agent.add() == 2


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


# -- who sends or takes too much -------------------------------------------------------------------
def test_what_is_too_long_is_refused(door, opened):
    site = opened(max_message_bytes=MIB)
    peer = site.meet(door.me.secret)
    call, _payload = site.call(2, "echo")
    peer.say(call, [bytes(700_000), bytes(700_000)])
    refused = peer.answer()
    assert (refused.id, refused.code) == (2, "PayloadTooLarge")
    peer.say(*site.call(3, "add"))
    assert isinstance(peer.answer(), Result)
    with contextlib.suppress(OSError):
        peer.socket.sendall(peer._curve.message([*pack(call), bytes(PIECE + 1)]))
    assert peer.is_ended()
    assert site.agent.add() == 3


def test_who_has_too_many_calls_open_is_refused(door, opened):
    site = opened(client_calls=4)
    peer = site.meet(door.me.secret)
    for number in range(2, 10):
        peer.say(*site.call(number, "slow", 0.5))
    found = [peer.answer() for _ in range(8)]
    refused = [answer for answer in found if isinstance(answer, Error)]
    assert [answer.facts["setting"] for answer in refused] == ["client_calls"] * 4
    assert sum(isinstance(answer, Result) for answer in found) == 4
    peer.say(*site.call(20, "add"))  # and what was given back can be had again
    assert isinstance(peer.answer(), Result)


def test_calls_whose_connection_is_gone_count_until_they_end(door, opened):
    """Else whoever comes again and again would have as many as he likes."""
    site = opened(client_calls=4)
    first = site.meet(door.me.secret)
    for number in range(2, 6):
        first.say(*site.call(number, "slow", 1.0))
    wait_until(lambda: connections_to(site.place.port) >= 1, "the connection")
    first.say(Ping(50))
    assert isinstance(first.answer(), Pong)
    first.close()
    second = site.meet(door.me.secret)
    second.say(*site.call(2, "add"))
    assert second.answer().code == "Overloaded"

    def taken():
        second.say(*site.call(3, "add"))
        return isinstance(second.answer(), Result)

    wait_until(taken, "the others to end")


def test_who_does_not_read_is_disconnected(door, opened):
    site = opened(max_queued_bytes=MIB)
    peer = site.meet(door.me.secret)
    with contextlib.suppress(OSError):  # it may be disconnected before all is said
        for number in range(2, 60):
            peer.say(*site.call(number, "big", 500_000))
    wait_until(lambda: counters(door.daemon)["disconnected_unread"] >= 1, "it to be counted")
    assert peer.is_ended()
    assert site.agent.add() == 2


def test_a_flood_of_pings_holds_up_nobody_for_long(door, opened):
    site = opened()
    peer = site.meet(door.me.secret)
    peer.socket.settimeout(0.2)
    with Polite(site.agent.add) as polite:
        wait_until(lambda: len(polite.took) >= 20, "a first measure")
        polite.took.clear()
        until = time.monotonic() + 3
        number = 100
        with contextlib.suppress(OSError):
            while time.monotonic() < until:
                for _ in range(100):
                    number += 1
                    peer.say(Ping(number))
        wait_until(lambda: len(polite.took) >= 20, "it to be answered meanwhile")
    assert Victim(to_dist=door.daemon.endpoint).add() == 1
