"""Who sends more than is read, or keeps the daemon busy: it waits, others go on, nothing is lost.

Over real sockets. How others fare beside it ``make bench ARGS='--rows hostile'`` measures.
"""

import concurrent.futures
import subprocess
import sys
import threading

import pytest

import agentd
from agentd.client.runtime import runtime
from agentd.protocol import pack
from agentd.protocol.messages import Call, Ping, Result, Welcome
from agentd.transport.pieces import PIECE
from tests.faults.harness import wait_until
from tests.faults.test_hostile_peers import beside, counters
from tests.faults.test_raw_curve import MIB, Peer
from tests.faults.victims import Victim
from tests.faults.zmtp import introduction

LONG_PINGS = """
import sys
from agentd.protocol import pack
from agentd.protocol.messages import Ping
from tests.faults.zmtp import RawPeer, message
peer = RawPeer(sys.argv[1])
ping = message([*pack(Ping(7)), bytes(4 << 20)])
while peer.send(ping):
    pass
if peer.is_ended():
    print("ended")
"""
"""A process of its own: nothing of all of it is read for a while."""
ONE = b"\x92\x90\x80"
"""The arguments of ``add()``."""


@pytest.fixture
def door(door):
    """One through which its client may come."""
    door.grant()
    return door


@pytest.fixture
def meet(door):
    """Somebody who has introduced himself; or not yet."""
    met = []

    def meet(*, introduced=True):
        met.append(Peer(door, door.me.secret))
        met[-1].socket.settimeout(5.0)
        if introduced:
            met[-1].say(introduction())
            assert isinstance(met[-1].answer(), Welcome)
        return met[-1]

    yield meet
    for one in met:
        one.close()


def calls_of_add(agent, peer, numbers):
    """Sealed, to be sent by that peer at once."""
    handle = agentd.handle(agent)
    handle.wait(60)
    name = bytes.fromhex(handle.id)
    assert agent.add(0) == 0
    epoch = runtime().session_at(handle.endpoint).places.known(name).epoch
    return b"".join(
        peer._curve.message([*pack(Call(number, name, epoch, "method", "add", "data")), ONE])
        for number in numbers
    )


def output_of(code, *args):
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout


# -- messages that are too long to be any ----------------------------------------------------------
@pytest.mark.parametrize("introduced", [True, False], ids=["introduced", "a stranger"])
def test_who_sends_more_than_any_message_waits_and_others_do_not(door, meet, introduced):
    door.open(door.build, max_message_bytes=MIB)
    peer = meet(introduced=introduced)
    usual = counters(door.daemon)["memory_bytes"]
    with beside(door.daemon, "a message without end, over TCP") as polite:
        parts = [bytes(PIECE - 1)]
        assert not peer.send_parts(parts, 2**30 // PIECE)  # it is not taken any more
        assert counters(door.daemon)["held_up"] == 1
        assert counters(door.daemon)["memory_bytes"] - usual < 512 * MIB
        assert polite.took
    assert "of what it sent are no message yet" in door.daemon.said()
    assert counters(door.daemon)["disconnected_memory"] == 0


@pytest.mark.slow
def test_and_is_disconnected_in_the_end_however_often_it_comes(door, meet):
    door.open(door.build, max_message_bytes=MIB)
    usual = counters(door.daemon)["memory_bytes"]
    for number in (1, 2):
        peer = meet()
        began = counters(door.daemon)["memory_bytes"]
        peer.send_parts([bytes(PIECE - 1)], 2**30 // PIECE)
        came = counters(door.daemon)["memory_bytes"] - began
        wait_until(
            lambda n=number: counters(door.daemon)["disconnected_unfinished"] == n,
            "it to be disconnected",
            60,
        )
        assert peer.is_ended()
    assert came < 256 * MIB  # the second one was seen at once
    assert "none may be longer than 1 MiB (max_message_bytes)" in door.daemon.said()
    wait_until(
        lambda: counters(door.daemon)["memory_bytes"] - usual < 128 * MIB, "its memory to come back"
    )


def test_messages_of_the_longest_kind_are_no_such_thing(door, meet):
    endpoint = door.open(door.build, max_message_bytes=4 * MIB)
    agent = agentd.connect(endpoint).create("tests.faults.victims:Victim")
    value = bytes(4 * MIB - 4096)
    for _ in range(20):
        assert agent.echo(value) == value
    with pytest.raises(agentd.errors.PayloadTooLarge):
        agent.echo(bytes(4 * MIB))
    assert counters(door.daemon)["held_up"] == 0


# -- more than is read soon ------------------------------------------------------------------------
def test_who_sends_faster_than_is_read_waits_and_nothing_is_lost(door, meet):
    door.open(door.build)
    agent = Victim(to_dist={"endpoint": door.daemon.endpoint})
    peer = meet()
    numbers = range(100, 12_100)
    sealed = calls_of_add(agent, peer, numbers)
    peer.socket.settimeout(60.0)
    sending = threading.Thread(target=peer.socket.sendall, args=(sealed,))
    sending.start()
    answers = {}
    while len(answers) < len(numbers):
        answer = peer.answer()
        if isinstance(answer, Ping):
            continue
        assert isinstance(answer, Result)
        answers[answer.id] = answer
    sending.join()
    assert sorted(answers) == list(numbers)
    assert agent.add(0) == len(numbers)  # each once
    assert counters(door.daemon)["held_up"] >= 1
    assert "it sends faster than can be read" in door.daemon.said()
    assert counters(door.daemon)["disconnected_backlog"] == 0


def test_calls_that_are_read_when_their_client_has_long_gone_are_not_done(door, meet):
    door.open(door.build, client_calls=1)  # most are refused, and who is refused is served slowly
    agent = Victim(to_dist={"endpoint": door.daemon.endpoint})
    peer = meet()
    count = 20_000
    sealed = calls_of_add(agent, peer, range(100, 100 + count))
    peer.socket.sendall(sealed)
    # What the kernel still had would go with the connection.
    wait_until(lambda: counters(door.daemon)["held_up"] > 0, "libzmq to have taken much")
    peer.reset()
    wait_until(lambda: counters(door.daemon)["abandoned"] > 0, "calls to be left undone", 60)
    assert agent.add(0) <= count - counters(door.daemon)["abandoned"]


def test_who_sends_long_messages_that_help_nobody_is_disconnected_within_the_host(start):
    daemon = start()
    usual = counters(daemon)["memory_bytes"]
    with beside(daemon, "pings of 4 MiB") as polite:
        assert output_of(LONG_PINGS, daemon.endpoint) == "ended\n"
        assert polite.took
    assert counters(daemon)["disconnected_backlog"] == 1
    assert "that help nobody" in daemon.said()
    assert counters(daemon)["memory_bytes"] - usual < 512 * MIB


# -- who keeps the daemon busy ---------------------------------------------------------------------
@pytest.mark.parametrize("portion", [0.5, 1.0])
def test_who_keeps_the_daemon_busy_leaves_time_to_others(start, portion):
    daemon = start(client_portion=portion)
    Victim(to_dist={"endpoint": daemon.endpoint, "name": "busy"}).add(0)
    Victim(to_dist={"endpoint": daemon.endpoint, "name": "light"}).add(0)
    busy = agentd.connect(daemon.endpoint, direct=False).get("busy")
    done = threading.Event()

    def work():
        count = 0
        while not done.is_set():
            for result in [busy.add.submit() for _ in range(256)]:
                result.result(60)
            count += 256
        return count

    # Portions are counted by process: the light one is another.
    code = (
        "import agentd, sys\n"
        "light = agentd.connect(sys.argv[1], direct=False).get('light')\n"
        "print([light.add() for _ in range(400)][-1])\n"
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            wait_until(lambda: busy.peek() > 256, "it to be busy")
            assert int(output_of(code, daemon.endpoint)) == 400
            if portion < 1:  # where processors are somebody else's it is not as busy as that
                again = lambda: output_of(code, daemon.endpoint)  # noqa: E731
                wait_until(lambda: counters(daemon)["rests"] or not again(), "it to rest", 60)
        finally:
            done.set()
        count = working.result(60)
    assert busy.add(0) == count
    rests = counters(daemon)["rests"]
    assert rests > 0 if portion < 1 else rests == 0
