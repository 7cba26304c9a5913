"""A created agent is waited for, whatever happens to the order meanwhile."""

from types import SimpleNamespace

import pytest

from agentd.client import places
from agentd.client.orders import Creation
from agentd.client.pending import LinkDown
from agentd.client.places import Places
from agentd.errors import TooLate
from agentd.protocol.messages import Ready

READY = Ready(1, b"a" * 16, "m:C", "w1", "unix:///w1", 1, {})


class Order:
    """Comes to nothing until it does; each time it is sent again."""

    def __init__(self, *ends):
        self._ends = list(ends)
        self.done = True

    def outcome(self):
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end, []


@pytest.fixture
def slept(monkeypatch):
    pauses = []
    monkeypatch.setattr(places.time, "sleep", pauses.append)
    return pauses


def settle(*ends):
    link = object()
    order = Order(*ends)
    creation = Creation(link, order, SimpleNamespace(send=lambda *, anew: creation))
    found = Places(SimpleNamespace(link=link, endpoint="ipc:///x"), None)
    return found.settle(b"a" * 16, creation, None)


def test_an_order_that_came_too_late_is_sent_again_at_once(slept):
    assert settle(TooLate("late"), READY) == READY
    assert not slept


def test_one_that_comes_too_late_again_or_is_lost_after_a_pause(slept):
    assert settle(TooLate("late"), TooLate("late"), READY) == READY
    assert len(slept) == 1
    assert settle(LinkDown("broken"), READY) == READY
    assert len(slept) == 2
