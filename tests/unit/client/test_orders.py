"""How far a client may be ahead of the agents that it orders."""

import time
from types import SimpleNamespace

import pytest

from agentd.client.orders import EVERY, PATIENCE_S, Orders
from agentd.client.pending import LinkDown, Pending
from agentd.errors import CallTimeout
from agentd.protocol.messages import Create

LIKE = Create(0, b"a" * 16, "m:C", "spec", "data", name="x")


class Link:
    """One that notes whom is waited for."""

    def __init__(self):
        self.sent = []
        self.made = []
        self.down = []
        self.waited = []
        self.error = None
        self.clock = time.monotonic

    def submit(self, make, payload, *, lazy):
        assert lazy  # nobody is to be woken by the answer
        if self.down:
            raise self.down.pop()
        self.made.append((make(len(self.sent)), payload))
        self.sent.append(Pending(len(self.sent), None))
        return self.sent[-1]

    def wait(self, pending, deadline):
        assert 0 < deadline - self.clock() <= PATIENCE_S
        self.waited.append(pending.id)
        if self.error is not None:
            raise self.error
        pending.done = True


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def orders(link):
    reader = SimpleNamespace(trusted=True)
    return Orders(SimpleNamespace(connect=lambda: link, now=lambda: 1.0, reader=reader))


def give(orders, count):
    encoded = SimpleNamespace(head=b"head", buffers=(b"buffer",))
    return [orders.create(LIKE, encoded) for _ in range(count)]


def test_an_order_tells_its_number_the_time_and_whether_the_answer_is_to_be_plain(orders, link):
    give(orders, 2)
    assert link.made == [
        (LIKE.changed(id=n, at=1.0, plain=False), (b"head", b"buffer")) for n in range(2)
    ]


def test_an_order_that_was_not_sent_is_given_again(orders, link, monkeypatch):
    monkeypatch.setattr("agentd.client.orders.time.sleep", lambda _seconds: None)
    link.down = [LinkDown("gone", endpoint="ipc:///x")]
    (creation,) = give(orders, 1)
    assert link.sent == [creation.pending]
    again = creation.again()
    assert link.sent == [creation.pending, again.pending]
    assert [message[1:] for message, _payload in link.made] == [link.made[0][0][1:]] * 2


def test_no_more_than_some_hundreds_are_open(orders, link):
    give(orders, 10 * EVERY)
    assert len(link.sent) == 10 * EVERY
    assert link.waited == [n * EVERY - 1 for n in range(1, 9)]


def test_who_gives_few_never_waits(orders, link):
    give(orders, 3 * EVERY - 1)
    assert link.waited == []


def test_those_that_are_made_in_time_are_not_waited_for(orders, link):
    for _ in range(10):
        give(orders, EVERY)
        for pending in link.sent:
            pending.done = True
    assert link.waited == []


@pytest.mark.parametrize(
    "error", [CallTimeout("no answer in time", timeout=0.1), LinkDown("gone", endpoint="ipc:///x")]
)
def test_nothing_is_lost_where_agents_take_long_or_the_connection_breaks(orders, link, error):
    link.error = error
    give(orders, 5 * EVERY)
    assert len(link.sent) == 5 * EVERY
    assert len(link.waited) == 3
