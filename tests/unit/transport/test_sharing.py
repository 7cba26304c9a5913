"""Long frames by shared memory, and what a peer may get wrong about it."""

import array
import contextlib
import fcntl
import mmap
import os
import resource
import select
import socket
import struct
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.transport import pool, sharing, wire
from agentd.transport.blocks import HEAD, MOST
from agentd.transport.broken import Broken
from agentd.transport.pool import MOST_BLOCKS
from agentd.transport.wire import Wire
from tests.machine import descriptors

MIB = 1024 * 1024
LIMIT = 64 * MIB

READY = struct.pack("<HH", 0, 1)


def offer(block, size):
    return struct.pack("<HHIQ", 0, 2, block, size)


def taken(block):
    return struct.pack("<HHI", 0, 3, block)


def refused(block):
    return struct.pack("<HHI", 0, 4, block)


def message(block, numbers, lengths, rest):
    head = struct.pack(f"<HH{len(lengths)}Q", len(lengths), len(numbers), *lengths)
    return head + struct.pack(f"<I{len(numbers)}H", block, *numbers) + rest


def memfd(size, seals=fcntl.F_SEAL_SHRINK):
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class Counting(socket.socket):
    """Counts the bytes that pass through."""

    passed = 0

    def send(self, *args):
        return self._count(super().send(*args))

    def sendmsg(self, *args):
        return self._count(super().sendmsg(*args))

    def _count(self, sent):
        self.passed += sent
        return sent


@pytest.fixture
def ends():
    one, other = (Counting(fileno=each.detach()) for each in socket.socketpair())
    wires = Wire(one, LIMIT, shares=True, begins=True), Wire(other, LIMIT, shares=True)
    yield wires
    for each in wires:
        each.close()


def through(sender, receiver, frames):
    """Send a message and read it; both sides say what they have to say."""
    sender.send(frames)
    came = []
    while not came:
        sender.flush()
        receiver.receive(1, came)
        receiver.reply()
        sender.receive(1, [])
        sender.reply()
    return came[0]


def warm_up(sender, receiver):
    for _ in range(3):
        through(sender, receiver, [b"header", bytes(2 * MIB)])


def test_what_was_sent_is_mapped_for_the_next_one(ends):
    """Once one has gone into fresh memory, the next meets no faults there."""
    size = 8 * MIB
    frames = [b"header", os.urandom(size)]
    for _ in range(3):
        through(*ends, frames)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    ends[0].send(frames)
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    assert faults < size // mmap.PAGESIZE // 10


def test_the_second_long_message_does_not_pass_through_the_socket(ends):
    passed = []
    for _ in range(4):
        before = ends[0].socket.passed
        content = os.urandom(2 * MIB)
        assert through(*ends, [b"header", content, b"after"]) == [b"header", content, b"after"]
        passed.append(ends[0].socket.passed - before)

    assert [size > MIB for size in passed] == [True, False, False, False]


def test_both_directions_share(ends):
    warm_up(*ends)
    warm_up(*reversed(ends))
    content = os.urandom(3 * MIB)
    assert through(*ends, [b"there", content])[1] == content
    assert through(*reversed(ends), [b"and back", content])[1] == content


@pytest.mark.parametrize("warm", [False, True], ids=["by the socket", "by shared memory"])
def test_what_comes_is_of_the_kind_that_was_sent(ends, warm):
    if warm:
        warm_up(*ends)
    content = os.urandom(2 * MIB)
    for sent in (content, bytearray(content), memoryview(content), content):
        came = through(*ends, [b"header", sent])[1]
        assert came == content
        if type(sent) is bytes:
            assert type(came) is bytes or not warm
        else:
            view = memoryview(came)
            assert not view.readonly
            view[0] ^= 255  # nobody else sees it
            assert through(*ends, [b"header", content])[1] == content


def test_it_is_a_copy_of_the_moment(ends):
    warm_up(*ends)
    sender, receiver = ends
    long = bytearray(b"a" * 2 * MIB)
    sender.send([b"header", long])
    long[:] = b"b" * len(long)
    came = []
    receiver.receive(1, came)

    assert came[0][1] == b"a" * len(long)


def test_many_may_be_on_their_way(ends):
    warm_up(*ends)
    sender, receiver = ends
    sent = [[b"%d" % n, os.urandom(MIB)] for n in range(MOST_BLOCKS + 4)]
    came = []
    for each in sent:
        sender.send(each)
    while len(came) < len(sent):
        sender.flush()
        receiver.receive(100, came)
        receiver.reply()
        sender.receive(100, [])

    assert came == sent


def test_the_last_words_of_a_sender_that_closed_are_read(ends):
    warm_up(*ends)
    sender, receiver = ends
    content = os.urandom(2 * MIB)
    sender.send([b"header", content])
    sender.close()
    came = []
    receiver.receive(1, came)

    assert came == [[b"header", content]]
    with pytest.raises(Broken, match="closed"):
        receiver.receive(1, [])


def test_nothing_is_left_of_a_connection(ends):
    before = descriptors()
    used, blocks, mapped = pool.budget.used, pool.budget.blocks, sharing.received.blocks
    one, other = socket.socketpair()
    sender = Wire(one, LIMIT, shares=True, begins=True)
    receiver = Wire(other, LIMIT, shares=True)
    warm_up(sender, receiver)
    assert pool.budget.blocks == blocks + 1
    assert sharing.received.blocks == mapped + 1
    sender.close()
    receiver.close()
    del sender, receiver, one, other

    assert (pool.budget.used, pool.budget.blocks) == (used, blocks)
    assert sharing.received.blocks == mapped
    assert descriptors() <= before


def test_who_has_no_room_refuses_and_gets_them_the_other_way(ends, monkeypatch):
    monkeypatch.setattr(sharing.received, "one_more", lambda: False)
    content = os.urandom(2 * MIB)
    for _ in range(4):
        assert through(*ends, [b"header", content])[1] == content
    assert pool.budget.blocks == 0


def test_who_has_no_descriptors_left_refuses(ends):
    import resource

    sender, receiver = ends
    through(sender, receiver, [b"header", bytes(MIB)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        sender.send([b"header", bytes(MIB)])  # with an offer
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        came = []
        while not came:
            sender.flush()
            receiver.receive(1, came)
        receiver.reply()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    sender.receive(1, [])

    assert sender._sharing._pool.offer() is None
    assert through(*ends, [b"header", b"x" * MIB])[1] == b"x" * MIB


def test_a_sender_without_memory_for_it_sends_it_the_other_way(ends, monkeypatch):
    warm_up(*ends)

    def none(*_args):
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "pwrite", none)
    content = os.urandom(5 * MIB)  # more than is there
    assert through(*ends, [b"header", content])[1] == content


def test_who_does_not_begin_says_nothing_of_it_to_who_does_not_know():
    raw, end = socket.socketpair()
    knows = Wire(end, LIMIT, shares=True)
    long = os.urandom(2 * MIB)
    came = []
    raw.setblocking(False)
    stream = struct.pack("<HHQ", 1, 0, len(long)) + long
    while not came:
        if stream:
            with contextlib.suppress(BlockingIOError):
                stream = stream[raw.send(stream) :]
        knows.receive(1, came)
    assert came == [[long]]
    assert not knows.replies
    knows.send([long])
    answer = b""
    while len(answer) < 12 + len(long):
        knows.flush()
        answer += raw.recv(MIB)
    assert answer == struct.pack("<HHQ", 1, 0, len(long)) + long
    raw.close()
    knows.close()


def test_a_socket_that_does_not_share_takes_none():
    raw, end = socket.socketpair()
    knows_not = Wire(end, LIMIT)
    raw.send(READY)
    with pytest.raises(Broken):
        knows_not.receive(1, [])
    raw.close()
    knows_not.close()


# -- any mixture -----------------------------------------------------------------------------------
SMALL = {"LONG": 1000, "TOGETHER": 500, "CHUNK": 512}

frames = st.one_of(
    st.binary(max_size=300),
    st.integers(400, 9000).map(os.urandom),
    st.integers(400, 9000).map(lambda size: bytearray(os.urandom(size))),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(frames, min_size=1, max_size=6)),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_any_messages_in_any_mixture_come_as_they_were(messages, behind):
    """Both sides speak; the reader is up to ``behind`` messages late."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SMALL.items():
            patched.setattr(wire, name, value)
        pair = socket.socketpair()
        ends = [Wire(end, LIMIT, shares=True, begins=end is pair[0]) for end in pair]
        came = [[], []]

        def read():
            for n in (0, 1):
                ends[n].flush()
                ends[n].receive(100, came[n])
                ends[n].reply()

        for number, (first, sent) in enumerate(messages):
            ends[not first].send(sent)
            if number % (behind + 1) == 0:
                read()
        while sum(map(len, came)) < len(messages):
            read()
        for n in (0, 1):
            sent = [each for first, each in messages if (not first) != n]
            assert came[n] == sent
            ends[n].close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40)), st.lists(frames, min_size=1, max_size=6))
def test_it_does_not_matter_in_which_pieces_what_is_said_comes(cuts, sent):
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SMALL.items():
            patched.setattr(wire, name, value)
        raw, end = socket.socketpair()
        receiver = Wire(end, LIMIT, shares=True)
        receiver._share().expect()
        receiver.reply()
        assert raw.recv(100) == READY
        fd = memfd(HEAD + 100_000)
        shared = [n for n, frame in enumerate(sent) if n % 2 == 0]
        os.pwrite(fd, b"".join(sent[n] for n in shared), HEAD)
        os.pwrite(fd, b"\x01", 0)
        rest = b"".join(bytes(f) for n, f in enumerate(sent) if n not in shared)
        stream = message(4, shared, [len(f) for f in sent], rest)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        came = []
        raw.sendmsg([offer(4, 100_000)], rights)
        for cut in [*cuts, len(stream)]:
            piece, stream = stream[:cut], stream[cut:]
            if piece:
                raw.sendall(piece)
                receiver.receive(1000, came)
        while not came:
            receiver.receive(1000, came)
        assert came == [sent]
        assert os.pread(fd, 1, 0) == b"\0"
        os.close(fd)
        raw.close()
        receiver.close()


# -- what a peer may get wrong ---------------------------------------------------------------------
@pytest.fixture
def stranger():
    """A receiver that expects descriptors, and a raw socket to it; no descriptor may be left."""
    before = descriptors()
    raw, end = socket.socketpair()
    receiver = Wire(end, LIMIT, shares=True)
    receiver._share().expect()
    receiver.reply()
    assert raw.recv(100) == READY
    yield raw, receiver
    raw.close()
    receiver.close()
    del raw, end, receiver
    assert descriptors() <= before


def say(raw, data, *fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    raw.sendmsg([data], rights)
    for fd in fds:
        os.close(fd)


def read_all(receiver):
    came = []
    while select.select([receiver.socket], [], [], 0)[0]:
        receiver.receive(100, came)
    return came


def size_of(content):
    return HEAD + content


WRONG = {
    "no descriptor": lambda raw: say(raw, offer(1, MIB)),
    "two descriptors": lambda raw: say(raw, offer(1, MIB), memfd(size_of(MIB)), memfd(9)),
    "shorter than said": lambda raw: say(raw, offer(1, MIB), memfd(size_of(MIB) - 1)),
    "longer than said": lambda raw: say(raw, offer(1, MIB), memfd(size_of(MIB) + 1)),
    "no bytes": lambda raw: say(raw, offer(1, 0), memfd(HEAD)),
    "absurdly long": lambda raw: say(raw, offer(1, MOST + 1), memfd(size_of(MOST + 1))),
    "may shrink": lambda raw: say(raw, offer(1, MIB), memfd(size_of(MIB), 0)),
    "no memfd": lambda raw: say(raw, offer(1, MIB), plain_file(size_of(MIB))),
    "a socket": lambda raw: say(raw, offer(1, MIB), socket.socket(socket.AF_UNIX).detach()),
    "only to be read": lambda raw: say(raw, offer(1, MIB), read_only(size_of(MIB))),
    "a descriptor with something else": lambda raw: say(
        raw, struct.pack("<HHQ", 1, 0, 1) + b"x", memfd(size_of(MIB))
    ),
    "twice": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
    ],
    "too many blocks": lambda raw: [
        say(raw, offer(n, MIB), memfd(size_of(MIB))) for n in range(MOST_BLOCKS + 1)
    ],
    "an answer to nothing": lambda raw: say(raw, taken(0)),
    "a refusal of nothing": lambda raw: say(raw, refused(0)),
    "what nobody knows": lambda raw: say(raw, struct.pack("<HHI", 0, 99, 0)),
    "a message in no block": lambda raw: say(raw, message(7, [0], [10], b"")),
    "a message beyond its block": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, message(1, [0, 1], [MIB, 1], b"")),
    ],
    "a message beyond all bounds": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, message(1, [0], [1 << 62], b"")),
    ],
    "a frame that is not there": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, message(1, [2], [10, 10], b"")),
    ],
    "a frame twice": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, message(1, [0, 0], [10, 10], b"")),
    ],
    "more frames than there are": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB))),
        say(raw, struct.pack("<HHQI2H", 1, 2, 10, 1, 0, 1)),
    ],
    "one that cannot be given back": lambda raw: [
        say(raw, offer(1, MIB), memfd(size_of(MIB), fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)),
        say(raw, message(1, [0], [10], b"")),
    ],
}


def plain_file(size):
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return os.dup(file.fileno())


def read_only(size):
    fd = memfd(size)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    return again


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_ends_the_connection_and_leaves_no_descriptor(stranger, wrong):
    raw, receiver = stranger
    wrong(raw)
    with pytest.raises(Broken):
        read_all(receiver)


def test_a_descriptor_where_none_is_expected_is_not_taken():
    before = descriptors()
    raw, end = socket.socketpair()
    receiver = Wire(end, LIMIT, shares=True)
    say(raw, offer(1, MIB), memfd(size_of(MIB)))
    with pytest.raises(Broken, match="without its descriptor"):
        read_all(receiver)
    raw.close()
    receiver.close()
    del raw, end, receiver
    assert descriptors() <= before


def test_a_peer_that_writes_while_it_is_read_harms_itself_only(stranger):
    raw, receiver = stranger
    fd = memfd(size_of(MIB))
    say(raw, offer(1, MIB), os.dup(fd))
    say(raw, message(1, [0], [MIB], b""))
    [[frame]] = read_all(receiver)
    os.pwrite(fd, b"changed", HEAD)
    os.close(fd)

    assert frame == bytes(MIB)
