"""Who is held up, and when newcomers are thinned out; on paper."""

from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace

import pytest

from agentd.transport.brake import HOLD_S, Brake
from agentd.transport.connections import Connection
from agentd.transport.debts import CREDIT, PAID_BACK
from agentd.transport.newcomers import FORGIVEN, LOOK_S, MOST_HALVINGS, REST_S, Newcomers
from agentd.transport.patience import CROWD, MOST, PAUSE_S, Patience
from tests.unit.server.fakes import FakeLoop

MIB = 1024 * 1024
DOOR = 3
IPC = 5


class Book:
    """Connections, and what was asked of the kernel."""

    def __init__(self):
        self.one = Connection(5, DOOR, route=b"one", peer="key:one 10.0.0.1")
        self.able = True
        self.asked = []
        self.ended = []
        self.on_wasted = self.on_no_room = None
        self.listeners = self

    def end(self, connection):
        self.ended.append(connection)
        return True

    def find(self, front, route):
        return self.one if (front, route) == (DOOR, b"one") else None

    def deafen(self, connection, *, deaf):
        assert connection is self.one
        self.asked.append(deaf)
        return self.able

    def thin_out(self, front, halvings):
        assert front == DOOR
        self.asked.append(halvings)
        return self.able

    def rest(self, front, *, rests):
        assert front in {IPC, DOOR}
        self.asked.append("rest" if rests else "go on")
        return self.able


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def book():
    return Book()


# -- who owes --------------------------------------------------------------------------------------
@pytest.fixture
def front():
    return SimpleNamespace(on_debt=None)


@pytest.fixture
def brake(loop, book, front):
    made = Brake(loop, book)
    made.follow(DOOR, front)
    return made


def test_who_owes_is_held_up_for_a_while_once(brake, loop, book, front, caplog):
    for _ in range(3):
        front.on_debt(b"one", 10)
    assert book.asked == [True]
    assert brake.held_up == 1
    assert "key:one 10.0.0.1 is held up for a while: it makes much work" in caplog.text
    loop.pass_time(HOLD_S)
    assert book.asked == [True, False]


def test_who_still_owes_then_is_held_up_again_and_told_of_seldom(brake, loop, book, front, caplog):
    for _ in range(3):
        front.on_debt(b"one", 10)
        loop.pass_time(HOLD_S)
    assert book.asked == [True, False] * 3
    assert brake.held_up == 3
    assert caplog.text.count("is held up") == 1


def test_who_has_gone_is_not_held_up(brake, loop, book, front):
    front.on_debt(b"two", 10)
    book.able = False
    front.on_debt(b"one", 10)
    assert brake.held_up == 0
    assert loop.timers == []


def test_who_has_said_nothing_yet_is_held_up_by_its_descriptor(brake, loop, book):
    book.one.route = b""
    assert brake.hold(book.one, "why", HOLD_S)
    assert brake.hold(book.one, "why", HOLD_S)  # it is
    assert book.asked == [True]
    book.one.route = b"one"  # it had said something before, which was read late
    loop.pass_time(HOLD_S)
    assert book.asked == [True, False]
    assert brake.hold(book.one, "why", HOLD_S)
    assert book.asked == [True, False, True]


def test_where_the_kernel_cannot_nobody_is_held_up(brake, loop, book):
    book.able = False
    assert not brake.hold(book.one, "why", HOLD_S)
    assert loop.timers == []


# -- who owes within the host, and goes on ---------------------------------------------------------
@pytest.fixture
def patience(loop, book, front):
    made = Patience(loop, book, lambda peer: 2.0 if peer == book.one.peer else 0.0)
    made.follow(DOOR, front)
    return made


def test_who_owes_and_goes_on_to_send_long_messages_is_disconnected(patience, book, front, caplog):
    for _ in range(MOST // MIB):
        front.on_debt(b"one", MIB)
    assert book.ended == []
    front.on_debt(b"one", 1)
    assert book.ended == [book.one]
    assert patience.disconnected == 1
    assert "it sent 256 MiB that help nobody" in caplog.text
    assert "nothing of it is read for 2 s" in caplog.text
    front.on_debt(b"one", MIB)  # it is back
    assert book.ended == [book.one]


def test_who_pauses_begins_anew_and_who_has_gone_is_nobody(patience, loop, book, front):
    for _ in range(3):
        front.on_debt(b"one", MOST)
        loop.pass_time(PAUSE_S)
    front.on_debt(b"two", MOST + 1)
    assert book.ended == []


def test_of_many_who_owed_once_nothing_is_kept(patience, loop, front):
    for number in range(3 * CROWD):
        front.on_debt(b"%d" % number, MIB)
        loop.pass_time(2 * PAUSE_S / CROWD)
    assert len(patience._sent) <= CROWD + 1


# -- who comes and goes ----------------------------------------------------------------------------
@pytest.fixture
def newcomers(loop, book):
    made = Newcomers(loop, book)
    made.follow(DOOR, "tcp")
    made.follow(IPC, "ipc")
    return made


def waste(book, count, door=DOOR):
    for _ in range(int(count)):
        book.on_wasted(door)


def test_at_a_socket_that_accepts_in_shares_by_itself_nobody_is_held_back(newcomers, loop, book):
    waste(book, 1_000, DOOR + 1)
    assert book.asked == []


@pytest.mark.parametrize("door", [DOOR, IPC])
def test_some_that_come_to_nothing_are_nobodys_concern(newcomers, loop, book, door):
    waste(book, CREDIT, door)
    assert book.asked == []
    assert loop.timers == []


def test_while_it_goes_on_ever_fewer_are_let_in_but_always_some(newcomers, loop, book, caplog):
    waste(book, CREDIT + 1)
    for _ in range(10 * (MOST_HALVINGS + 2)):
        waste(book, PAID_BACK / 5)
        loop.pass_time(LOOK_S / 10)
    assert book.asked == [*range(1, MOST_HALVINGS + 1), MOST_HALVINGS, MOST_HALVINGS, MOST_HALVINGS]
    assert newcomers.thinned_out == len(book.asked)
    assert caplog.text.count("come to nothing") == 1


def test_when_it_has_stopped_all_are_let_in_again_by_and_by(newcomers, loop, book):
    waste(book, 2 * CREDIT)
    loop.pass_time(LOOK_S / 2)
    waste(book, CREDIT)
    for _ in range(5):
        loop.pass_time(LOOK_S)
    assert book.asked == [1, 2, 1, 0]
    assert newcomers.thinned_out == 3
    assert loop.timers == []


def test_where_the_kernel_cannot_nothing_is_tried_again_and_again(newcomers, loop, book):
    book.able = False
    waste(book, CREDIT + 1)
    assert book.asked == [1]
    assert loop.timers == []
    assert newcomers.thinned_out == 0


def test_a_debt_that_is_paid_back_as_it_is_looked_at_thins_out_nobody(loop, book):
    readings = 2 * int(CREDIT) + 2  # each connection is charged, and then it is looked; once more
    loop.clock = partial(next, chain(repeat(0.0, readings), repeat(1.0)))
    newcomers = Newcomers(loop, book)
    newcomers.follow(DOOR, "tcp")
    waste(book, CREDIT + 1)
    assert book.asked == [0]
    assert newcomers.thinned_out == 0
    assert loop.timers == []


def test_within_the_host_nobody_is_accepted_until_the_debt_is_paid_back(newcomers, loop, book):
    waste(book, CREDIT + 20, IPC)  # more may be told of when it rests
    assert book.asked == ["rest"]
    loop.pass_time(19 / FORGIVEN)
    assert book.asked == ["rest"]
    loop.pass_time(1 / FORGIVEN + REST_S)
    assert book.asked == ["rest", "go on"]
    assert newcomers.thinned_out == 1
    assert loop.timers == []


def test_within_the_host_who_goes_on_is_made_to_wait_again_and_told_of_seldom(
    newcomers, loop, book, caplog
):
    waste(book, CREDIT, IPC)
    for _ in range(5):
        waste(book, 60, IPC)
        loop.pass_time(60 / FORGIVEN + REST_S)
    assert book.asked == ["rest", "go on"] * 5
    assert newcomers.thinned_out == 5
    assert caplog.text.count("come to nothing") == 1


def test_a_socket_that_rests_and_cannot_be_reached_for_a_moment_is_tried_again(
    newcomers, loop, book
):
    """There may be no descriptor left just then: it must not rest for ever."""
    waste(book, CREDIT + 1, IPC)
    book.able = False
    for _ in range(3):
        loop.pass_time(REST_S)
    book.able = True
    loop.pass_time(REST_S)
    assert book.asked[0] == "rest"
    assert set(book.asked[1:]) == {"go on"}
    assert loop.timers == []


@pytest.mark.parametrize("door", [DOOR, IPC])
def test_where_the_system_has_no_room_nobody_is_accepted_for_a_moment(
    newcomers, loop, book, caplog, door
):
    for _ in range(2):
        book.on_no_room(door)
        book.on_no_room(door)
        loop.pass_time(REST_S)
    assert book.asked == ["rest", "go on"] * 2
    assert newcomers.thinned_out == 0
    assert caplog.text.count("too many open files") == 1


def test_where_nobody_can_be_told_to_wait_nobody_is(newcomers, loop, book):
    book.able = False
    book.on_no_room(IPC)
    book.on_no_room(DOOR + 1)  # it accepts by itself
    assert book.asked == ["rest"]
    assert loop.timers == []
