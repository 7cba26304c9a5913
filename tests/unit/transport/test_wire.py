"""Messages on a stream socket, over a pair of real ones in one thread."""

import os
import select
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.transport import local
from agentd.transport.localport import LocalPort
from agentd.transport.localrouter import LocalRouter
from agentd.transport.shares import SHARE
from agentd.transport.unreachable import Unreachable
from agentd.transport.wire import CHUNK, Broken, Wire

MOST = 10_000_000


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    wires = Wire(one, MOST), Wire(other, MOST)
    yield wires
    for wire in wires:
        wire.close()


def through(sender, receiver, *messages):
    """Send, and read until all have come."""
    came = []
    for message in messages:
        sender.send(message)
    while len(came) < len(messages):
        sender.flush()
        receiver.receive(100, came)
    return [[bytes(frame) for frame in message] for message in came]


def test_small_messages_come_many_at_a_time(ends):
    messages = [[b"header %d" % i, b"", b"x" * i] for i in range(50)]

    assert through(*ends, *messages) == messages


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 3_000_000])
def test_long_frames_come_whole(ends, size):
    message = [b"header", os.urandom(size), b"after", bytearray(b"y" * size)]

    assert through(*ends, message, [b"next"]) == [[bytes(f) for f in message], [b"next"]]


def test_what_kind_one_message_is_of_says_nothing_of_the_next():
    one, other = socket.socketpair()
    sender, receiver = Wire(one, MOST, shares=True), Wire(other, MOST, shares=True)
    receiver._share().expect()
    receiver.reply()
    sender.receive(1, [])
    came = []
    for sent in (os.urandom(1_000_000), bytearray(1_000_000), os.urandom(1_000_000)):
        sender.send([b"header", sent])
        before = len(came)
        while len(came) == before:
            sender.flush()
            receiver.receive(100, came)

    assert [type(frames[1]) for frames in came] == [bytes, memoryview, bytes]
    assert not came[1][1].readonly
    sender.close()
    receiver.close()


def test_what_does_not_fit_waits_and_may_change_meanwhile(ends):
    sender, receiver = ends
    long = bytearray(b"a" * 3_000_000)
    sender.send([b"header", long])
    assert sender.queued > 0
    long[:] = b"b" * len(long)

    came = []
    while not came:
        sender.flush()
        receiver.receive(1, came)

    # As much as the socket took at once was copied by the kernel; the rest, here.
    assert bytes(came[0][1]) == b"a" * len(long)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=12), max_size=8),
    st.lists(st.integers(1, 40)),
)
def test_it_does_not_matter_in_which_pieces_they_come(messages, cuts):
    raw, socket_end = socket.socketpair()
    wire = Wire(socket_end, MOST)
    stream = b"".join(
        struct.pack(f"<HH{len(m)}Q", len(m), 0, *map(len, m)) + b"".join(m) for m in messages
    )
    came = []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        if piece:
            raw.sendall(piece)
            wire.receive(1000, came)
    raw.close()
    wire.close()
    assert came == messages


@pytest.mark.parametrize(
    "told",
    [
        struct.pack("<HH", 0, 0),
        struct.pack("<HH", 5000, 0),
        struct.pack("<HHQ", 1, 1, 1),
        struct.pack("<HHQQ", 2, 0, 10, MOST),
        struct.pack("<HHQ", 1, 0, 2**62),
    ],
    ids=["no frames", "too many frames", "shared", "too long", "absurdly long"],
)
def test_what_is_no_message_ends_the_connection(told):
    raw, end = socket.socketpair()
    wire = Wire(end, MOST)
    raw.sendall(told)

    with pytest.raises(Broken):
        wire.receive(10, [])
    raw.close()
    wire.close()


def test_the_end_is_told_after_what_came_before_it(ends):
    sender, receiver = ends
    sender.send([b"last words"])
    sender.close()
    came = []

    receiver.receive(10, came)
    with pytest.raises(Broken, match="closed"):
        receiver.receive(10, came)

    assert came == [[b"last words"]]


# -- ports -----------------------------------------------------------------------------------------
@pytest.fixture
def meet(tmp_path_factory, request):
    """A router, and who connects to it."""
    folder = tmp_path_factory.mktemp("m")
    path = f"{folder}/s"
    opened = []

    def meet(**options):
        router = LocalRouter(local.listen(path), **options)
        port = local.connect(path, 5)
        opened.extend((router, port))
        return router, port

    yield meet
    for one in opened:
        one.close()


@pytest.mark.parametrize("size", [1, 40_000, 4_000_000])
def test_a_router_knows_who_has_read_all_that_was_sent(meet, size):
    router, port = meet()
    other = local.connect(router._listener.getsockname(), 5)
    port.send([b"one"])
    came, _more = router.receive(100)
    while not came:
        came += router.receive(100)[0]
    [[route, _text]] = came
    other.send([b"two"])
    assert router.has_read(route)

    router.send([route, bytes(size)])
    assert not router.has_read(route)
    answers = []
    while not answers:
        answers += port.receive(1)[0]
        came += router.receive(100)[0]  # it sends what the socket did not take at once, too
    assert len(answers[0][0]) == size
    for _ in range(3):  # what the two say to each other of shared memory
        router.receive(100)
        port.receive(1)
    assert router.has_read(route)

    port.close()
    while route in router._peers:
        router.receive(100)
    assert not router.has_read(route)
    other.close()


def test_a_router_answers_whoever_asked(meet):
    router, port = meet()
    other = local.connect(router._listener.getsockname(), 5)
    port.send([b"one"])
    other.send([b"two"])

    came, _more = router.receive(100)
    while len(came) < 2:
        came += router.receive(100)[0]
    for route, text in came:
        router.send([route, b"answer to " + text])

    assert port.receive(1)[0] == [[b"answer to one"]]
    assert other.receive(1)[0] == [[b"answer to two"]]
    other.close()


def test_who_has_gone_is_unreachable(meet):
    router, port = meet()
    port.send([b"one"])
    came = []
    while not came:
        came = router.receive(1)[0]
    route = came[0][0]
    port.close()
    router.receive(1)

    with pytest.raises(Unreachable):
        router.send([route, b"answer"])
    assert len(router) == 0


def test_other_users_are_not_let_in(meet):
    router, port = meet(uids=lambda _uid: False)
    told = []
    router.on_count = lambda: told.append((router.refused, router.cut_off))
    router.receive(1)

    assert port.receive(1)[0] == []
    assert port.broken
    assert told == [(1, 0)]


def test_who_does_not_read_is_cut_off(meet):
    router, port = meet(most_queued=1_000_000)
    told = []
    router.on_count = lambda: told.append((router.refused, router.cut_off))
    port.send([b"more"])
    came = []
    while not came:
        came = router.receive(1)[0]
    route = came[0][0]

    def answer_all():
        for _ in range(100):
            router.send([route, bytes(500_000)])

    with pytest.raises(Unreachable, match="does not read"):
        answer_all()

    assert told == [(0, 1)]
    router.receive(10)
    assert len(router) == 0


def test_a_broken_port_is_readable_no_more(meet):
    router, port = meet()
    router.receive(1)
    router.close()
    port.receive(10)

    assert port.has_broken()
    poll = select.poll()
    poll.register(port.fd, select.POLLIN)
    assert poll.poll(0) == []
    with pytest.raises(Unreachable):
        port.send([b"x"])


def test_the_outbox_is_emptied_by_receiving(meet):
    router, port = meet()
    long = os.urandom(5_000_000)
    port.send([b"header", long])
    came = []
    while not came:
        port.receive(1)
        came = router.receive(1)[0]

    assert bytes(came[0][2]) == long
    assert isinstance(port, LocalPort)


def test_what_is_put_leaves_with_the_next_flush():
    one, other = (LocalPort(end) for end in local.pair())
    try:
        one.put([b"a"])
        one.put([b"b"])
        assert other.receive(10) == ([], False)
        one.flush()
        assert other.receive(10)[0] == [[b"a"], [b"b"]]
    finally:
        one.close()
        other.close()


def test_what_is_put_leaves_before_what_is_sent_next():
    one, other = (LocalPort(end) for end in local.pair())
    try:
        one.put([b"a"])
        one.send([b"b"])
        assert other.receive(10)[0] == [[b"a"], [b"b"]]
    finally:
        one.close()
        other.close()


def test_nothing_is_put_for_a_peer_that_is_gone():
    one, other = (LocalPort(end) for end in local.pair())
    other.close()
    one.put([b"a"])
    one.flush()
    with pytest.raises(Unreachable):
        one.put([b"b"])
    one.flush()
    one.close()


# -- what is held back -----------------------------------------------------------------------------
def test_what_is_held_leaves_with_the_next_that_is_not(ends):
    sender, receiver = ends
    sender.send([b"one"], hold=True)
    sender.send([b"two"], hold=True)
    came = []
    receiver.receive(100, came)
    assert came == []
    assert sender.queued

    sender.send([b"three"])

    receiver.receive(100, came)
    assert [bytes(frame) for (frame,) in came] == [b"one", b"two", b"three"]
    assert not sender.queued


def test_a_long_frame_is_not_held(ends):
    sender, receiver = ends
    sender.send([b"one"], hold=True)
    long = b"x" * 100_000
    sender.send([long], hold=True)
    came = []
    while len(came) < 2:
        sender.flush()
        receiver.receive(100, came)

    assert [bytes(frame) for (frame,) in came] == [b"one", long]


def held_answer(router, port):
    port.send([b"question"])
    came = []
    while not came:
        came = router.receive(100)[0]
    router.hold_back()
    router.send([came[0][0], b"held"])
    assert port.receive(100)[0] == []
    return came[0][0]


def test_a_router_lets_go_of_what_it_held_back(meet):
    router, port = meet()
    held_answer(router, port)

    router.let_go()

    assert port.receive(100)[0] == [[b"held"]]


def test_only_the_thread_that_holds_back_holds_back(meet):
    router, port = meet()
    route = held_answer(router, port)

    other = threading.Thread(target=router.send, args=([route, b"now"],))
    other.start()
    other.join()

    assert port.receive(100)[0] == [[b"held"], [b"now"]]
    router.let_go()
    assert port.receive(100)[0] == []


def some(router):
    came = []
    while not came:
        came = router.receive(100)[0]
    return came


def test_answers_wait_for_more_of_a_peer_that_has_asked_much(meet):
    router, port = meet()
    for number in range(2 * SHARE):
        port.send([b"%d" % number])
    came = some(router)
    assert len(came) == SHARE  # the rest was read, too
    router.hold_back()
    router.send([came[0][0], b"answer"])

    assert router.let_go(60.0) is True
    assert port.receive(100)[0] == []
    assert len(router.receive(100)[0]) == SHARE

    assert router.let_go(60.0) is False
    assert port.receive(100)[0] == [[b"answer"]]


def test_answers_wait_no_longer_than_they_may(meet):
    router, port = meet()
    for number in range(2 * SHARE):
        port.send([b"%d" % number])
    came = some(router)
    router.hold_back()
    router.send([came[0][0], b"answer"])
    while router.let_go(0.001):
        pass

    assert port.receive(100)[0] == [[b"answer"]]
