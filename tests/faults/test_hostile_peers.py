"""Floods, peers that do not read, do not finish, or only connect: each is bounded, told and ended.

Beside each of them a polite client goes on; `pytest -s` shows how it fared.
"""

import contextlib
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest
import zmq

import agentd
from agentd.errors import Overloaded, PayloadTooLarge
from agentd.protocol import pack
from agentd.protocol.messages import Ask, Error, Ping, Pong
from tests.faults.harness import Daemon, files_of, measured, wait_until
from tests.faults.test_malformed import Peer
from tests.faults.victims import Victim
from tests.faults.zmtp import GREETING, Polite, RawPeer, frame, introduction, message

MIB = 1024 * 1024


def counters(daemon):
    return daemon.client.info()["counters"]


@contextlib.contextmanager
def beside(daemon, what, **how):
    """The polite client meanwhile; it was answered each time."""
    try:
        with _beside(daemon, what, **how) as polite:
            yield polite
    except BaseException:
        print("the daemon said:", daemon.said())
        raise


@contextlib.contextmanager
def _beside(daemon, what, **how):
    with Polite(daemon.client.ping, **how) as polite:
        wait_until(lambda: len(polite.took) >= 50, "a first measure")
        idle = polite.p99()
        polite.took.clear()
        yield polite
        wait_until(lambda: len(polite.took) >= 20, "it to be answered meanwhile")
    measured(f"p99 idle, and beside {what}", idle)
    measured(f"  {len(polite.took)} questions", polite.p99())


def test_one_who_does_not_read_is_disconnected(start):
    daemon = start(max_message_bytes=MIB, max_queued_bytes=MIB)
    peer = RawPeer(daemon.endpoint)
    with beside(daemon, "one who does not read"):
        question = message(pack(Ask(7, "info")))
        for _ in range(200):  # 2 KB each come back
            if not peer.send(question * 50):
                break
        wait_until(lambda: counters(daemon)["disconnected_unread"] == 1, "it to be disconnected")
    assert peer.is_ended()
    peer.close()

    assert "does not read its answers" in daemon.said()
    assert "max_queued_bytes: 1 MiB" in daemon.said()
    wait_until(lambda: counters(daemon)["queued_bytes"] < MIB, "its answers to be forgotten")


def test_one_who_reads_slowly_gets_all(start):
    daemon = start(max_message_bytes=MIB, max_queued_bytes=MIB)
    Victim(to_dist={"endpoint": daemon.endpoint, "name": "victim"}).add()
    client = agentd.connect(daemon.endpoint, direct=False)
    victim = client.get("victim")
    for _ in range(30):
        assert len(victim.big(300_000)) == 300_000
    assert counters(daemon)["disconnected_unread"] == 0
    assert counters(daemon)["queued_bytes"] < MIB


@pytest.mark.parametrize(
    ("part", "times"), [(b"x" * MIB, 400), (b"", 4_000_000)], ids=["of 1 MiB", "empty"]
)
def test_one_who_never_finishes_a_message_is_disconnected(start, part, times):
    daemon = start(max_memory_bytes=160 * MIB)
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    peer = RawPeer(daemon.endpoint)
    one = frame(part, more=True)
    batch = one * max(1, 65_536 // len(one))
    with beside(daemon, "one who never finishes"):
        for _ in range(times * len(one) // len(batch)):
            if not peer.send(batch):
                break
        assert peer.is_ended()
        wait_until(lambda: counters(daemon)["disconnected_memory"] >= 1, "it to be counted")
    peer.close()

    said = daemon.said()
    assert "sends without finishing a message" in said or "no sign of life" in said
    wait_until(lambda: counters(daemon)["memory_bytes"] < 160 * MIB, "its memory to come back")
    assert agent.add() == 2


def test_those_who_only_connect_do_not_stay(start):
    daemon = start(handshake_s=0.5)
    usual = files_of(daemon.process.pid)
    with beside(daemon, "400 who only connect") as polite:
        silent = [RawPeer(daemon.endpoint, greet=False) for _ in range(400)]
        for number, peer in enumerate(silent):
            with contextlib.suppress(OSError):
                peer.socket.sendall(GREETING[: number % 64])
        assert all(peer.is_ended() for peer in silent)
        assert len(polite.took) > 0
    for peer in silent:
        peer.close()
    wait_until(lambda: counters(daemon)["handshakes_failed"] >= 390, "them to be counted")
    wait_until(lambda: files_of(daemon.process.pid) <= usual + 5, "descriptors to come back")


def test_a_byte_now_and_then_is_no_handshake(start):
    daemon = start(handshake_s=0.5)
    peer = RawPeer(daemon.endpoint, greet=False)
    for byte in GREETING:
        if not peer.send(bytes([byte])):
            break
        time.sleep(0.05)
    assert peer.is_ended()
    peer.close()


@contextlib.contextmanager
def all_closed():
    """A list whose peers are closed in the end."""
    peers: list[RawPeer] = []
    try:
        yield peers
    finally:
        for peer in peers:
            peer.close()


PING = "import agentd, sys; agentd.connect(sys.argv[1]).ping()"
"""A program that is new to the daemon."""
FILES = 600
FLOOD = 3_500


@pytest.fixture
def crowded():
    """A daemon that may have few open files, and a test that may have more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2 * FLOOD:
        pytest.skip(f"this flood needs {2 * FLOOD} open files; the system allows {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * FLOOD, before[1]))
    daemon = Daemon()
    daemon.start(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
    )
    yield daemon
    daemon.end()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_flood_of_connections_up_to_the_limit_of_files(crowded):
    daemon = crowded
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    most = daemon.client.info()["limits"]["max_connections"]
    assert most < FILES
    with all_closed() as flood, beside(daemon, f"{FLOOD} connections at once") as polite:

        def connect(count):
            for _ in range(count):
                with contextlib.suppress(OSError):
                    flood.append(RawPeer(daemon.endpoint, greet=False))

        threads = [threading.Thread(target=connect, args=(FLOOD // 4,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert files_of(daemon.process.pid) < FILES
        wait_until(lambda: counters(daemon)["connections_shed"] > 0, "some to be shed")
        assert polite.error is None

    assert "more than" in daemon.said()
    wait_until(lambda: counters(daemon)["connections"] < 10, "them to go")
    assert agent.add() == 2
    assert Victim(to_dist=daemon.endpoint).add() == 1  # a new one is let in


def test_where_connections_come_to_nothing_nobody_is_let_in_for_a_while(start):
    """Who is in does not notice, and who waits gets in."""
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    made, told = 0, None
    with beside(daemon, "connections that come to nothing"):
        until = time.monotonic() + 3.0
        while told is None or told.poll() is None:
            RawPeer(daemon.endpoint, greet=False).close()
            made += 1
            if told is None and time.monotonic() > until:
                fewer = made
                told = subprocess.Popen([sys.executable, "-c", PING, daemon.endpoint])
        assert told.returncode == 0
    assert counters(daemon)["thinned_out"] >= 1
    assert 200 <= fewer < 5_000
    assert agent.add() == 2


def test_a_setting_bounds_connections(start):
    daemon = start(max_connections=20)
    daemon.client.ping()
    peers = [RawPeer(daemon.endpoint, greet=False) for _ in range(60)]
    wait_until(lambda: counters(daemon)["connections_shed"] >= 40, "those too many to be shed")
    assert daemon.client.info()["limits"]["max_connections"] == 20
    for peer in peers:
        peer.close()


@pytest.fixture
def door(door):
    """One through which its client may come."""
    door.grant()
    return door


def test_over_tcp_connections_are_bounded_before_any_key_is_shown(door):
    host, _, port = door.open(door.build, handshake_s=1.0, max_connections=40)[6:].rpartition(":")
    with contextlib.ExitStack() as peers, beside(door.daemon, "120 connections over TCP"):
        for number in range(120):
            raw = peers.enter_context(socket.create_connection((host, int(port)), timeout=30))
            with contextlib.suppress(OSError):
                raw.sendall(GREETING[: number % 20])
        wait_until(lambda: counters(door.daemon)["connections_shed"] >= 60, "some to be shed")
        wait_until(lambda: counters(door.daemon)["connections"] < 10, "the silent ones to go")


@pytest.mark.parametrize("pause_s", [0.02, 0.002], ids=["beside others", "beside a debtor"])
def test_one_who_does_not_read_over_tcp_is_disconnected(door, pause_s):
    endpoint = door.open(door.build, max_message_bytes=MIB, max_queued_bytes=MIB)
    context = zmq.Context()
    one = context.socket(zmq.DEALER)
    one.linger = 0
    one.rcvhwm = 1  # it takes so much out of its socket, and then no more
    one.reconnect_ivl = -1
    one.curve_publickey, one.curve_secretkey = door.me.public, door.me.secret
    one.curve_serverkey = door.pair.public
    one.connect(endpoint)
    try:
        one.send_multipart(pack(introduction()))
        assert one.poll(30_000)
        with beside(door.daemon, "one who does not read over TCP", pause_s=pause_s):
            for number in range(5_000):
                one.send_multipart(pack(Ask(number, "info")))
            wait_until(
                lambda: counters(door.daemon)["disconnected_unread"] == 1,
                "it to be disconnected",
                90,  # it is served slowly, as these are questions about the daemon
            )
    finally:
        context.destroy(0)
    assert "127.0.0.1:" in door.daemon.said()


@pytest.mark.parametrize("direct", [False, True], ids=["relayed", "straight"])
def test_more_calls_than_a_client_may_have_are_overloaded(start, direct):
    daemon = start(client_calls=50)
    Victim(to_dist={"endpoint": daemon.endpoint, "name": "victim"}).add()
    victim = agentd.connect(daemon.endpoint, direct=direct).get("victim")
    with beside(daemon, "an overload"):
        calls = [victim.slow.submit(0.005) for _ in range(500)]
        outcomes = []
        for call in calls:
            try:
                outcomes.append(call.result(60))
            except Overloaded as error:
                assert (error.setting, error.limit) == ("client_calls", 50)
                assert error.retry_after > 0
                outcomes.append(error)
    done = outcomes.count(0.005)
    assert done >= 50
    assert done + sum(isinstance(o, Overloaded) for o in outcomes) == 500
    told = counters(daemon)
    assert told["refused_client_calls"] == 500 - done
    assert told["open_calls"] <= 2  # this question, and perhaps one of the polite client
    assert victim.slow(0.0) == 0.0


def test_a_worker_bounds_the_bytes_of_a_client(start):
    daemon = start(
        max_message_bytes=MIB, client_bytes=2 * MIB, agent_bytes=2 * MIB, daemon_bytes=8 * MIB
    )
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()
    busy = agent.slow.submit(1.0)
    waiting = [agent.weigh.submit(bytes(700_000)) for _ in range(5)]
    outcomes = []
    for call in waiting:
        try:
            outcomes.append(call.result(60))
        except Overloaded as error:
            outcomes.append(error.setting)
    assert busy.result(60) == 1.0
    assert outcomes == [700_000] * 2 + ["client_bytes"] * 3
    assert agent.weigh(bytes(700_000)) == 700_000  # what was given back can be had again


def test_a_flood_of_questions_holds_up_nobody(start):
    daemon = start(client_calls=50)
    peer = Peer(daemon.endpoint)
    with beside(daemon, "a flood of questions") as polite:
        for number in range(10, 20_010):
            peer.send(pack(Ask(number, "nothing")))
        answers = 0
        while answers < 20_000:
            answer = peer.answer()
            if isinstance(answer, Ping):  # has this side read what came before?
                peer.send(pack(Pong(answer.id)))
            else:
                assert isinstance(answer, Error)
                answers += 1
        assert len(polite.took) > 0
    peer.close()


def test_a_message_that_is_too_large_is_refused_before_it_is_sent(start):
    daemon = start(max_message_bytes=MIB)
    Victim(to_dist={"endpoint": daemon.endpoint, "name": "victim"}).add()
    victim = agentd.connect(daemon.endpoint, direct=False).get("victim")
    with pytest.raises(PayloadTooLarge, match="max_message_bytes") as told:
        victim.add(bytes(2 * MIB))
    assert (told.value.limit, told.value.setting) == (MIB, "max_message_bytes")
    assert victim.add() == 2


def test_one_who_sends_it_all_the_same_gets_an_error(start):
    daemon = start(max_message_bytes=MIB)
    peer = Peer(daemon.endpoint)
    peer.send([*pack(Ask(3, "info")), *[bytes(MIB // 2)] * 3])
    answer = peer.answer()
    assert (answer.id, answer.code, answer.facts["limit"]) == (3, "PayloadTooLarge", MIB)
    peer.close()
    assert counters(daemon)["too_large"] == 1

    raw = RawPeer(daemon.endpoint)
    raw.send(frame(bytes(2 * MIB)))  # one frame of it: libzmq does not even read it
    assert raw.is_ended()
    raw.close()


def test_a_question_is_asked_once(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    assert agent.add() == 1
    peer = Peer(daemon.endpoint)
    identity = agentd.handle(agent).id
    wait = {"agent": identity, "wait": 5.0, "after": 1_000}
    peer.send(pack(Ask(5, "logs", wait)))
    peer.send(pack(Ask(5, "logs", wait)))
    answer = peer.answer()
    assert (answer.id, answer.code, "open already" in answer.message) == (0, "ProtocolError", True)
    peer.close()
