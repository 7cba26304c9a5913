"""Which connection a message came by, whatever is told first: that it came, or what it says."""

import concurrent.futures
import os
import socket
import struct
from types import SimpleNamespace

import pytest

from agentd.transport.connections import Connections
from agentd.transport.filters import drop_nothing
from agentd.transport.origin import Origin, mark_of


class Descriptor:
    """A descriptor behind which there is one thing after the other."""

    def __init__(self):
        self.fd, self._other = os.pipe()

    def next(self):
        """It is closed, and belongs to somebody else now."""
        read, write = os.pipe()
        os.dup2(read, self.fd)
        os.close(read)
        os.close(self._other)
        self._other = write

    def close(self):
        for fd in (self.fd, self._other):
            if fd >= 0:
                os.close(fd)
        self.fd = self._other = -1


@pytest.fixture
def one():
    made = Descriptor()
    yield made
    made.close()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def front():
    return SimpleNamespace(on_message=None, on_accepted=None, on_lost=None)


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def connections(front, lost, clock):
    book = Connections(100, lambda: clock.now)
    book.on_lost = lambda connection: lost.append(connection.route)
    book.follow(front)
    return book


def at(fd):
    """A peer, as far as it is looked at."""
    return SimpleNamespace(fd=fd)


def says(front, one, route):
    """The mark of what it says."""
    return front.on_message(Origin(route, "key:x", one.fd, "key:x 10.0.0.1"), 3, 100).mark


def route(number):
    """As libzmq makes them."""
    return b"\0" + (number % 2**32).to_bytes(4, "big")


def routes(connections):
    return [connection.route for connection in connections]


def test_one_that_comes_speaks_and_goes(connections, front, one, lost):
    front.on_accepted(at(one.fd))
    says(front, one, b"A")
    says(front, one, b"A")
    [connection] = connections
    assert (connection.messages, connection.frames, connection.bytes) == (2, 6, 200)
    fd = one.fd
    one.close()
    front.on_lost(at(fd))
    assert (routes(connections), lost) == ([], [b"A"])


@pytest.mark.parametrize("spoke", [True, False])
def test_what_the_next_one_says_may_be_read_before_it_is_told_of(
    connections, front, one, lost, spoke
):
    front.on_accepted(at(one.fd))
    if spoke:
        says(front, one, b"A")
    one.next()
    says(front, one, b"B")
    front.on_lost(at(one.fd))  # the first one
    front.on_accepted(at(one.fd))
    says(front, one, b"B")
    assert routes(connections) == [b"B"]
    assert lost == ([b"A"] if spoke else [])
    fd = one.fd
    one.close()
    front.on_lost(at(fd))
    assert (routes(connections), lost[-1]) == ([], b"B")


def test_that_one_was_lost_may_be_told_after_another_socket_has_the_descriptor(
    connections, front, one, lost
):
    """Each socket tells by a queue of its own."""
    other = SimpleNamespace(on_message=None, on_accepted=None, on_lost=None)
    connections.follow(other)
    front.on_accepted(at(one.fd))
    says(front, one, b"A")
    one.next()
    other.on_accepted(at(one.fd))
    front.on_lost(at(one.fd))
    assert len(connections) == 1
    says(other, one, b"B")
    assert (routes(connections), lost) == ([b"B"], [b"A"])


def test_several_may_have_had_the_descriptor_meanwhile(connections, front, one, lost):
    front.on_accepted(at(one.fd))
    says(front, one, b"A")
    one.next()  # one that says nothing
    one.next()
    says(front, one, b"C")
    for tell in (front.on_lost, front.on_accepted, front.on_lost, front.on_accepted):
        tell(at(one.fd))
    assert (routes(connections), lost) == ([b"C"], [b"A"])


def test_it_may_be_told_of_a_moment_before_it_is_closed(connections, front, one, lost):
    front.on_accepted(at(one.fd))
    says(front, one, b"A")
    front.on_lost(at(one.fd))
    assert lost == []
    one.close()
    assert (len(connections), lost) == (0, [b"A"])


# -- what a connection leaves unread when it goes --------------------------------------------------
@pytest.mark.parametrize("first", [7, 2**32 - 1])
@pytest.mark.parametrize("spoke", [True, False], ids=["it had spoken", "not a word was read"])
def test_what_it_left_is_not_of_the_next_one(connections, front, one, lost, first, spoke):
    front.on_accepted(at(one.fd))
    if spoke:
        assert says(front, one, route(first)) == mark_of(one.fd)
    one.next()
    front.on_lost(at(one.fd))
    front.on_accepted(at(one.fd))
    if spoke:
        assert says(front, one, route(first)) == 0
    for _ in range(3):
        assert says(front, one, route(first + 1)) == mark_of(one.fd)
        assert says(front, one, route(first)) == 0
    [connection] = connections
    assert (connection.route, connection.messages) == (route(first + 1), 3)
    assert lost == [route(first) if spoke else b""]


def test_what_it_left_is_nobodys_while_there_is_no_other(connections, front, one, clock):
    front.on_accepted(at(one.fd))
    says(front, one, route(7))
    front.on_lost(at(one.fd))
    fd = one.fd
    one.close()
    assert len(connections) == 0
    again = Origin(route(7), "key:x", fd, "key:x 10.0.0.1")
    clock.now += 2.5
    assert front.on_message(again, 3, 100) == again._replace(gone_s=2.5)
    assert again.mark == 0


def test_one_that_chose_its_name_hides_nobody(connections, front, one):
    front.on_accepted(at(one.fd))
    says(front, one, b"\xff" * 5)
    one.next()
    front.on_lost(at(one.fd))
    front.on_accepted(at(one.fd))
    assert says(front, one, route(1)) == mark_of(one.fd)
    assert routes(connections) == [route(1)]


# -- held up, and ended ----------------------------------------------------------------------------
@pytest.fixture
def pair():
    """Our end of a connection over TCP, and its peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, peer:
        peer.settimeout(30)
        ours.settimeout(30)
        yield ours, peer


@pytest.fixture
def held(connections, front, pair):
    """That connection, known and deaf."""
    ours, _peer = pair
    connections.bound(ours.getsockname()[1])
    front.on_accepted(at(ours.fileno()))
    front.on_message(Origin(route(1), "key:x", ours.fileno(), "key:x 127.0.0.1"), 3, 100)
    [connection] = connections
    assert connections.deafen(connection, deaf=True)
    return connection


def test_what_comes_by_one_that_is_deaf_is_not_lost(connections, held, pair):
    ours, peer = pair
    peer.sendall(b"said")
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(10)
    assert connections.deafen(held, deaf=False)
    ours.settimeout(30)
    assert ours.recv(10) == b"said"


def test_what_goes_to_one_that_is_deaf_is_read_however_much_it_is(held, pair):
    """What it has read is no data that it sends."""
    ours, peer = pair
    content = bytes(32 * 1024 * 1024)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(ours.sendall, content)
        came = 0
        while came < len(content):
            came += len(peer.recv(2**20))
        sent.result()


@pytest.mark.parametrize("linger", [None, 0], ids=["with a goodbye", "broken off"])
def test_that_one_that_is_deaf_has_gone_is_seen_at_once(held, pair, linger):
    ours, peer = pair
    if linger is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))
    peer.close()
    if linger is None:
        assert ours.recv(10) == b""
    else:
        with pytest.raises(ConnectionResetError):
            ours.recv(10)


def test_one_that_is_ended_is_not_deaf_any_more(connections, held, pair):
    """Else the kernel would keep it until its peer was heard."""
    assert connections.end(held)
    assert pair[1].recv(10) == b""
    assert not drop_nothing(pair[0])


@pytest.fixture
def another(connections, held, pair):
    """A second connection, which has the first one's descriptor by now."""
    ours, _peer = pair
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    with peer, accepted:
        connections.bound(accepted.getsockname()[1])
        os.dup2(accepted.fileno(), ours.fileno())
        peer.settimeout(30)
        yield peer


@pytest.mark.parametrize("told", ["nothing", "it came", "it speaks"])
def test_what_was_to_happen_to_one_that_has_gone_happens_to_no_other(
    connections, front, held, pair, another, told
):
    """It was to be ended ten seconds later, and somebody else has come meanwhile."""
    ours, _peer = pair
    if told != "nothing":
        front.on_lost(at(ours.fileno()))
        front.on_accepted(at(ours.fileno()))
    if told == "it speaks":
        front.on_message(Origin(route(2), "key:y", ours.fileno(), "key:y 127.0.0.1"), 3, 100)
    assert not connections.deafen(held, deaf=True)
    assert not connections.end(held)
    another.sendall(b"said")
    assert ours.recv(10) == b"said"
    ours.sendall(b"heard")
    assert another.recv(10) == b"heard"


@pytest.mark.parametrize("spoke", [True, False])
def test_one_is_ended_once(connections, front, pair, spoke):
    ours, peer = pair
    connections.bound(ours.getsockname()[1])
    front.on_accepted(at(ours.fileno()))
    if spoke:
        front.on_message(Origin(route(1), "key:x", ours.fileno(), "key:x 127.0.0.1"), 3, 100)
    [connection] = connections
    assert connections.end(connection)
    assert not connections.end(connection)
    assert peer.recv(10) == b""
