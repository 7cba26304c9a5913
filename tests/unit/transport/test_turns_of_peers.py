"""One peer's flood and another's single message: how many of the flood are served in between.

Counted, not timed: each of those takes as long as a message takes.
"""

import math
import socket
import time

import pytest
import zmq

from agentd.transport.counted import Counted
from agentd.transport.debts import CREDIT, Debts
from agentd.transport.front import (
    MOST_HELD,
    MOST_HELD_BYTES,
    TURN,
    FrontPort,
    front_socket,
)
from agentd.transport.local import listen
from agentd.transport.localrouter import MOST_FAULTS, NEWCOMERS, UNREAD, LocalRouter
from agentd.transport.loop import BATCH, Loop
from agentd.transport.monitor import AT_ONCE, MonitorPort
from agentd.transport.portions import Portions
from agentd.transport.shares import (
    ALONE_S,
    ALONE_SHARE,
    DEAR_BYTES,
    SHARE,
    Attention,
    Shares,
)
from agentd.transport.wire import Wire

FLOOD = 300
"""More than a batch, and more than fits into a share by far."""


# -- the daemon's door -----------------------------------------------------------------------------
@pytest.fixture
def context():
    with zmq.Context() as made:
        made.linger = 0
        yield made
        made.destroy(0)


@pytest.fixture
def front(context):
    made = front_socket(context, max_frame=1 << 20, handshake_s=2.0)
    made.bind("inproc://front")  # what is sent is there at once: nothing to wait for
    port = FrontPort(made, "ipc")
    yield port
    port.close()


@pytest.fixture
def connect(context, front):
    made = []

    def connect():
        made.append(context.socket(zmq.DEALER))
        made[-1].sndhwm = 0
        made[-1].linger = 0
        made[-1].connect("inproc://front")
        return made[-1]

    yield connect
    for one in made:
        one.close()


def bodies(messages):
    return [bytes(message[1]) for message in messages]


def served_between(port, flood_on, ask):
    """How many of a flood are served from when another peer asks until its turn, 20 times.

    It asks at the worst moment: when messages have just been taken, and none of them is served.
    """
    counts = []
    for _ in range(20):
        count = len(port.receive(BATCH)[0])
        ask()
        while True:
            flood_on()
            came = bodies(port.receive(BATCH)[0])
            if b"polite" in came:
                counts.append(count + came.index(b"polite"))
                break
            count += len(came)
            assert came, "the flood went on; the other peer was forgotten"
    return counts


def test_of_a_flood_no_more_than_two_shares_are_served_before_another_peers_message(front, connect):
    front._attention = Attention(lambda: 1.0)  # nobody is alone for a while
    flooder, polite = connect(), connect()

    def flood_on():
        for _ in range(FLOOD):
            flooder.send(b"flood")

    flood_on()
    counts = served_between(front, flood_on, lambda: polite.send(b"polite"))

    assert 0 < max(counts) <= 2 * SHARE, counts


def test_many_who_flood_hold_up_nobody_for_longer_than_a_turn(front, connect):
    flooders, polite = [connect() for _ in range(TURN)], connect()
    for flooder in flooders:
        for _ in range(20):
            flooder.send(b"flood")
    front.receive(BATCH)
    polite.send(b"polite")

    first, second = (bodies(front.receive(BATCH)[0]) for _ in range(2))

    assert len(first) <= TURN
    assert b"polite" in first + second


def test_a_flood_is_served_whole_all_the_same(front, connect):
    flooder = connect()
    for number in range(FLOOD):
        flooder.send(b"%d" % number)
    came, more = [], True
    while more:
        some, more = front.receive(BATCH)
        came += bodies(some)
    assert came == [b"%d" % number for number in range(FLOOD)]


def test_long_headers_use_up_a_share_sooner(front, connect):
    flooder = connect()
    for _ in range(20):
        flooder.send(bytes(SHARE * DEAR_BYTES))
    assert len(front.receive(BATCH)[0]) == 1


def charged(front, route):
    for _ in range(2 * int(CREDIT)):
        front.charge(route, 0)


def test_who_owes_rests_while_the_others_are_served(front, connect):
    front._debts = Debts(lambda: 1.0)  # nothing is paid back by time
    flooder, polite = connect(), connect()
    for _ in range(FLOOD):
        flooder.send(b"flood")
    came, _more = front.receive(BATCH)
    charged(front, came[0][0].route)
    assert front.rest_s() == 0.0  # it looks for others first
    front._rest_until = math.inf  # and then rests, for as long as this takes
    served = []
    for number in range(10):
        polite.send(b"polite %d" % number)
        served += bodies(front.receive(BATCH)[0])
    assert served == [b"polite %d" % number for number in range(10)]
    assert front.receive(BATCH) == ([], True)
    assert front.rest_s() > 0.0


def test_beside_who_owes_one_is_found_also_if_the_router_has_read_ahead(front, connect):
    """Whoever looks whether there is something has it read, and the turn is another's then."""
    front._debts = Debts(lambda: 1.0)
    flooder, polite = connect(), connect()
    for _ in range(FLOOD):
        flooder.send(b"flood")
    came, _more = front.receive(BATCH)
    charged(front, came[0][0].route)
    front.rest_s()
    front._rest_until = math.inf
    for number in range(10):
        front.socket.getsockopt(zmq.EVENTS)
        polite.send(b"polite %d" % number)
        assert bodies(front.receive(BATCH)[0]) == [b"polite %d" % number]


def test_answers_do_not_swallow_that_somebody_spoke_while_debtors_rest(front, connect):
    front._debts = Debts(lambda: 1.0)
    flooder, polite = connect(), connect()
    for _ in range(FLOOD):
        flooder.send(b"flood")
    route = front.receive(BATCH)[0][0][0].route
    charged(front, route)
    front.rest_s()
    front._rest_until = math.inf
    front.receive(BATCH)
    for _ in range(20):
        assert not front.send([route, b"answer"])
        assert front.rest_s() == math.inf
        polite.send(b"polite")
        assert front.send([route, b"answer"])
        assert front.rest_s() == 0.0
        assert bodies(front.receive(BATCH)[0])[0] == b"polite"
        assert front.receive(BATCH)[1]  # nobody else has spoken meanwhile


def test_what_a_debtor_says_while_it_is_answered_is_noticed(front, connect):
    """All had been read, so no rest will end: nobody would look any more."""
    front._debts = Debts(lambda: 1.0)
    debtor = connect()
    give = front.give_locked

    def give_and_hear(frames):
        debtor.send(b"heartbeat")
        give(frames)
        front.socket.getsockopt(zmq.EVENTS)  # libzmq takes what is signalled while it sends

    debtor.send(b"asked")
    [[origin, _frame]] = front.receive(BATCH)[0]
    charged(front, origin.route)
    debtor.send(b"asked again")
    messages, more = front.receive(BATCH)
    assert (bodies(messages), more) == ([b"asked again"], False)
    front.give_locked = give_and_hear
    assert front.send([origin.route, b"answer"])


def test_who_owes_loses_nothing_and_keeps_its_order(front, connect):
    flooder, polite = connect(), connect()
    for number in range(FLOOD):
        flooder.send(b"%d" % number)
    came = front.receive(BATCH)[0]
    route = came[0][0].route
    came = bodies(came)
    charged(front, route)
    deadline = time.monotonic() + 30
    while len(came) < FLOOD:
        assert time.monotonic() < deadline, len(came)
        front.rest_s()
        polite.send(b"polite")
        came += [body for body in bodies(front.receive(BATCH)[0]) if body != b"polite"]
        charged(front, route)
    assert came == [b"%d" % number for number in range(FLOOD)]


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_who_owes_for_long_has_no_more_held_than_may_be(front, connect, size):
    """To find others more is taken of it than is served: what is too much is served, too."""
    front._debts = Debts(lambda: 1.0)
    flooder, polite = connect(), connect()
    body = bytes(size)
    for _ in range(10):
        flooder.send(body, copy=False)
    route = front.receive(BATCH)[0][0][0].route
    charged(front, route)
    front.rest_s()
    front._rest_until = math.inf
    for number in range(300):
        for _ in range(3):
            flooder.send(body, copy=False)
        if number % 10 == 0:
            polite.send(b"polite")
            assert bodies(front.receive(BATCH)[0])[0] == b"polite"
            continue
        rests = number % 10 > 1
        front._rest_until = math.inf if rests else 0.0
        front.receive(BATCH)
        assert len(front._held) <= MOST_HELD
        held = sum(len(message[1]) for message in front._held)
        assert held <= MOST_HELD_BYTES


# -- who has had more than its portion -------------------------------------------------------------
class Portioned:
    """Of the loop's time "busy" has had too much, until it is told otherwise."""

    def __init__(self):
        self.busy = set()
        self.counted = []
        self.ignored = set()
        self.settled = 0

    def settle(self):
        self.settled += 1

    def count(self, name):
        self.counted.append(name)

    def ignore(self, name):
        self.ignored.add(name)

    def until(self, name):
        return time.monotonic() + 60 if name in self.busy else 0.0


def test_who_has_had_more_than_its_portion_rests_and_the_others_do_not(front, connect):
    front._portions = portions = Portioned()
    flooder, polite = connect(), connect()
    for number in range(FLOOD):
        flooder.send(b"%d" % number)
    came = bodies(front.receive(BATCH)[0])
    front._names = dict.fromkeys(front._served, "busy")
    portions.busy = {"busy"}
    for number in range(10):
        polite.send(b"polite %d" % number)
        if number == 0:
            front.rest_s()
        assert bodies(front.receive(BATCH)[0]) == [b"polite %d" % number]
    assert front.receive(BATCH) == ([], True)
    assert front.rest_s() > 1.0
    portions.busy = set()
    while len(came) < FLOOD:
        some = bodies(front.receive(BATCH)[0])
        assert 0 < len(some) <= ALONE_SHARE
        came += some
    assert came == [b"%d" % number for number in range(FLOOD)]
    assert portions.settled > 12


def test_who_is_answered_is_counted_until_it_has_gone(front, connect):
    front._portions = portions = Portioned()
    one = connect()
    for mark in (1, 0):  # the connection of the last has gone
        front.on_message = lambda origin, _frames, _size, mark=mark: origin._replace(mark=mark)
        one.send(b"asked")
        [[origin, _frame]] = front.receive(BATCH)[0]
        front.send([origin.route, b"answered"])
        front.forget(origin.route)
    assert portions.counted == [origin.peer] * 3  # two came, and one was answered
    assert not front._names


@pytest.mark.parametrize(("excused", "ignored"), [(False, {"peer"}), (True, set())])
def test_nobody_rests_for_who_is_charged_unless_it_is_excused(front, connect, excused, ignored):
    front._portions = portions = Portioned()
    one = connect()
    one.send(b"asked")
    [[origin, _frame]] = front.receive(BATCH)[0]
    front._names = {origin.route: "peer"}
    portions.ignored.clear()
    front.charge(origin.route, 0, excused=excused)
    assert portions.ignored == ignored


def test_nobody_rests_for_who_has_gone(front, connect):
    front._portions = portions = Portioned()
    one = connect()
    for mark, ignored in ((1, False), (0, True)):
        front.on_message = lambda origin, _frames, _size, mark=mark: origin._replace(mark=mark)
        one.send(b"asked")
        [[origin, _frame]] = front.receive(BATCH)[0]
        assert (origin.peer in portions.ignored) is ignored


def test_what_was_held_of_one_that_has_gone_is_served_and_nothing_kept_of_it(front, connect):
    front._portions = portions = Portioned()
    front.on_message = lambda origin, _frames, _size: origin._replace(mark=1)
    one = connect()
    one.send(b"1")
    [[origin, _frame]] = front.receive(BATCH)[0]
    portions.busy = {origin.peer}
    front.rest_s()
    one.send(b"2")
    assert front.receive(BATCH)[0] == []
    front.forget(origin.route)
    portions.busy = set()
    assert bodies(front.receive(BATCH)[0]) == [b"2"]
    assert not front._names
    assert not front.receive(BATCH)[1]
    assert not front._slow


def test_a_debtor_that_says_nothing_ends_nobodys_rest(front, connect):
    front._debts = Debts(lambda: 1.0)
    front._portions = portions = Portioned()
    debtor, busy = connect(), connect()
    debtor.send(b"asked")
    [[owes, _frame]] = front.receive(BATCH)[0]
    charged(front, owes.route)
    front.rest_s()
    for _ in range(FLOOD):
        busy.send(b"work")
    [route] = {origin.route for origin, _ in front.receive(BATCH)[0]}
    front._names[route] = "busy"
    portions.busy = {"busy"}
    front._rest_until = 0.0
    front.rest_s()
    front.receive(BATCH)
    assert front._held
    assert front.rest_s() > 1.0


def test_within_the_host_only_that_one_rests(router, join):
    router._portions = portions = Portions(0.5, time.monotonic)
    flooder, polite = join(), join()
    owners = ["busy", "light"]
    for peer, owner in zip(router._peers.values(), owners, strict=True):
        peer.owner = owner
    portions._until["busy"] = time.monotonic() + 60
    for number in range(10):
        flooder.send([b"flood"])
        polite.send([b"polite %d" % number])
        assert bodies(router.receive(BATCH)[0]) == [b"polite %d" % number]
    assert router.rest_s() > 1.0
    portions._until.clear()
    router._resting = dict.fromkeys(router._resting, 0.0)  # that time has passed
    came = []
    while len(came) < 10:
        came += bodies(router.receive(BATCH)[0])
    assert came == [b"flood"] * 10
    router.receive(BATCH)
    assert set(portions._had) == {"busy", "light"}


# -- a worker's socket -----------------------------------------------------------------------------
@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture
def router(path):
    made = LocalRouter(listen(path))
    yield made
    made.close()


@pytest.fixture
def join(router, path):
    wires = []

    def join():
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(path)
        wires.append(Wire(connected, 1 << 24))
        router.receive(BATCH)
        return wires[-1]

    yield join
    for wire in wires:
        wire.close()


def test_of_a_flood_at_a_worker_no_more_than_two_shares_come_before_another_peer(router, join):
    router._attention = Attention(lambda: 1.0)
    flooder, polite = join(), join()

    def flood_on():
        for _ in range(FLOOD):
            flooder.send([b"flood"])  # what does not fit waits on its side

    flood_on()
    counts = served_between(router, flood_on, lambda: polite.send([b"polite"]))

    assert 0 < max(counts) <= 2 * SHARE, counts


@pytest.mark.parametrize("excused", [False, True])
def test_nobody_rests_for_who_is_charged_within_the_host_either(router, join, excused):
    router._portions = portions = Portions(0.5, time.monotonic)
    join().send([b"asked"])
    [[route, _frame]] = router.receive(BATCH)[0]
    router.charge(route, excused=excused)
    assert portions._vain == (set() if excused else {router.owner(route)})


def test_who_is_alone_for_a_while_has_a_larger_share(router, join):
    now = [0.0]
    router._attention = Attention(lambda: now[0])
    flooder, polite = join(), join()

    def served():
        for _ in range(FLOOD):
            flooder.send([b"flood"])
        return sum(body == b"flood" for body in bodies(router.receive(BATCH)[0]))

    assert served() == SHARE  # somebody else may have said something just before
    now[0] += ALONE_S
    assert served() == ALONE_SHARE
    polite.send([b"polite"])
    router.receive(BATCH)
    assert served() == SHARE


def test_a_flood_at_a_worker_is_served_whole_and_in_order(router, join):
    flooder = join()
    for number in range(FLOOD):
        flooder.send([b"%d" % number])
    flooder.socket.shutdown(socket.SHUT_RDWR)  # it has gone before it was served
    came, more = [], True
    while more:
        some, more = router.receive(BATCH)
        came += bodies(some)
    assert came == [b"%d" % number for number in range(FLOOD)]
    router.receive(BATCH)
    assert len(router) == 0


def test_those_who_connect_by_the_hundred_come_in_by_and_by(router, path):
    crowd = []
    for _ in range(int(CREDIT) + 100):
        crowd.append(socket.socket(socket.AF_UNIX))
        crowd[-1].connect(path)
    try:
        router.receive(BATCH)
        assert len(router) <= NEWCOMERS
        while len(router) <= CREDIT - NEWCOMERS:
            router.receive(BATCH)
        deadline = time.monotonic() + 30
        rested = 0.0
        while len(router) < len(crowd):
            assert time.monotonic() < deadline, len(router)
            router.receive(BATCH)
            rested = max(rested, router.rest_s())
        assert rested > 0.0
    finally:
        for one in crowd:
            one.close()


def test_who_does_not_read_is_not_read_from_and_what_it_said_is_not_lost(router, join):
    wire = join()
    wire.send([b"first"])
    [[route, _body]] = router.receive(BATCH)[0]
    while router._peers[route].wire.queued <= UNREAD:
        router.send([route, bytes(1 << 20)])
    for _ in range(ALONE_SHARE * 5):
        wire.send([b"more"])
    served = len(router.receive(BATCH)[0])
    assert served in (SHARE, ALONE_SHARE)
    assert router.receive(BATCH) == ([], True)
    assert router.rest_s() > 0.0
    deadline = time.monotonic() + 30
    while served < ALONE_SHARE * 5:
        assert time.monotonic() < deadline
        wire.receive(1, [])  # now it reads
        served += len(router.receive(BATCH)[0])
    assert served == ALONE_SHARE * 5


def test_what_is_no_message_is_counted_and_so_is_who_is_cut_off_for_it(router, join):
    wire = join()
    wire.send([b"nonsense"])
    [[route, _body]] = router.receive(BATCH)[0]
    for number in range(1, MOST_FAULTS):
        router.fault(route, 10)
        assert router.counted() == Counted(malformed=number)
    router.fault(route, 10)
    assert router.counted() == Counted(malformed=MOST_FAULTS, disconnected_malformed=1)


# -- both ------------------------------------------------------------------------------------------
def test_each_peer_has_a_share_of_its_own():
    shares = Shares(Attention(lambda: 1.0))
    assert [shares.take("a", 0) for _ in range(SHARE)] == [False] * (SHARE - 1) + [True]
    assert not shares.take("b", 0)


def test_who_is_alone_has_a_larger_share_of_a_turn():
    now = [1.0]
    attention = Attention(lambda: now[0])
    Shares(attention).take("a", 0)
    now[0] += ALONE_S
    alone = Shares(attention)
    few = [alone.take("a", 0) for _ in range(ALONE_SHARE)]
    assert few == [False] * (ALONE_SHARE - 1) + [True]
    Shares(attention).take("b", 0)
    among = Shares(attention)
    assert [among.take("a", 0) for _ in range(SHARE)] == [False] * (SHARE - 1) + [True]


class Resting:
    """A port whose peer owes."""

    def __init__(self, fd):
        self.fd = fd
        self.received = 0

    def receive(self, _most):
        self.received += 1
        return [], True

    def rest_s(self):
        return 60.0


def test_the_loop_sleeps_while_a_port_rests_and_wakes_when_it_has_something():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop, port = Loop(), Resting(ours.fileno())
        loop.serve(port, lambda _message: None)
        loop.turn()
        loop.later(0.01, lambda: None)
        loop.turn()
        assert port.received == 1  # once to look, and not again for its rest
        theirs.send(b"x")
        loop.turn()
        assert port.received == 2


def test_a_monitor_is_read_many_events_at_a_time_and_leaves_time_for_messages(context):
    told, telling = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    told.rcvhwm = telling.sndhwm = 0
    told.bind("inproc://monitor")
    telling.connect("inproc://monitor")
    heads = [b"%06d" % number for number in range(2 * AT_ONCE + AT_ONCE // 2)]
    for head in heads:
        telling.send_multipart([head, b"ipc:///somewhere"])
    port = MonitorPort(told)

    assert port.receive(1) == ([heads[:AT_ONCE]], True)
    assert port.receive(1) == ([heads[AT_ONCE : 2 * AT_ONCE]], True)
    assert port.receive(1) == ([heads[2 * AT_ONCE :]], False)
    assert port.receive(1) == ([], False)
    port.close()
    telling.close()


# -- who is held up --------------------------------------------------------------------------------
def test_who_owes_is_told_of_but_not_who_is_excused(front):
    told = []
    front.on_debt = lambda route, _size: told.append(route)
    for _ in range(int(CREDIT) + 10):
        front.charge(b"honest", 100, excused=True)
        front.charge(b"other", 100)
    assert front.owes(b"honest")
    front.charge(b"honest", 100)  # as any client's now and then
    assert set(told) == {b"other"}
