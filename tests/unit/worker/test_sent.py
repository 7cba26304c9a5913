"""Large answers are kept until the other side of their connection has read them."""

from agentd.worker.sent import Sent

ONE, TWO = b"one", b"two"


class Wires:
    """What has been read of which connection."""

    def __init__(self):
        self.read = set()
        self.asked = 0
        self.arrived = []
        self.sent = Sent(self._has_read, self.arrived.append)

    def _has_read(self, route):
        self.asked += 1
        return route in self.read


def test_what_was_read_has_arrived_and_nothing_else_has():
    wires = Wires()
    for route, key in ((ONE, b"1"), (ONE, b"2"), (TWO, b"3")):
        wires.sent.note(route, key)
    wires.sent.look(ONE)
    assert wires.arrived == []

    wires.read.add(ONE)
    wires.sent.look(ONE)

    assert wires.arrived == [b"1", b"2"]
    wires.sent.look(ONE)
    assert wires.arrived == [b"1", b"2"]


def test_what_is_answered_while_it_is_asked_may_not_have_been_read():
    wires = Wires()
    wires.read.add(ONE)
    wires.sent.note(ONE, b"1")

    def has_read(route):
        wires.sent.note(route, b"2")  # by another thread, after the kernel was asked
        return True

    wires.sent._has_read = has_read
    wires.sent.look(ONE)
    assert wires.arrived == [b"1"]


def test_what_is_noted_while_nothing_was_read_yet_is_looked_at_later():
    wires = Wires()
    wires.sent.note(ONE, b"1")
    wires.sent.look(ONE)
    wires.sent.note(ONE, b"2")
    wires.read.add(ONE)
    wires.sent.look(ONE)
    assert wires.arrived == [b"1", b"2"]


def test_the_kernel_is_asked_about_those_only_who_were_sent_something_large():
    wires = Wires()
    wires.sent.note(TWO, b"1")
    wires.sent.look(ONE)
    assert wires.asked == 0


def test_a_connection_that_ended_has_its_answers_kept():
    wires = Wires()
    wires.sent.note(ONE, b"1")
    wires.sent.lost(ONE)
    wires.read.add(ONE)
    wires.sent.look(ONE)
    assert wires.arrived == []
