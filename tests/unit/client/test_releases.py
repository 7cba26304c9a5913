"""Releases that cannot be told, or whose arrival is not known; over the session in test_session."""

import pytest

from agentd.client.releases import KEPT_S, MOST, TOGETHER, Releases

AGENT = b"a" * 16


class FakeLink:
    def __init__(self):
        self.down = None
        self.told = []
        self.shown = 0

    def tell(self, message):
        if self.down is not None:
            return None
        self.told.append(message)
        return len(self.told)

    def has_shown(self, mark):
        return self.shown >= mark

    def keys(self):
        return [key for message in self.told for key in message.keys]


class Told:
    """Releases, and the link over which they are told, if there is one."""

    def __init__(self):
        self.now = 0.0
        self.link = FakeLink()
        self.releases = Releases(lambda _agent: self.link, lambda: self.now)

    def breaks(self):
        self.link.down = "it broke"
        self.link = None


@pytest.fixture
def told():
    return Told()


def test_they_are_told_together(told):
    for number in range(TOGETHER + 1):
        told.releases.add(AGENT, bytes([number]))
    assert [len(message.keys) for message in told.link.told] == [TOGETHER]
    told.releases.tell()
    assert told.link.keys() == [bytes([number]) for number in range(TOGETHER + 1)]


def test_what_cannot_be_told_is_told_later(told):
    first, told.link = told.link, None
    told.releases.add(AGENT, b"1")
    told.releases.tell()
    told.releases.tell()
    told.link = first
    told.releases.tell()
    told.releases.tell()
    assert first.keys() == [b"1"]


def test_only_what_is_not_known_to_have_arrived_is_told_again(told):
    first, second = told.link, FakeLink()
    told.releases.add(AGENT, b"1")
    told.releases.tell()
    told.releases.add(AGENT, b"2")
    told.releases.tell()
    first.shown = 1
    told.breaks()
    told.link = second
    told.releases.tell()
    assert (first.keys(), second.keys()) == ([b"1", b"2"], [b"2"])


def test_what_its_worker_has_forgotten_by_itself_is_not_told_any_more(told):
    told.releases.add(AGENT, b"1")
    told.releases.tell()
    told.breaks()
    told.now = KEPT_S - 1
    told.releases.add(AGENT, b"2")
    told.releases.tell()
    told.now = KEPT_S + 1
    told.link = FakeLink()
    told.releases.tell()
    assert told.link.keys() == [b"2"]


def test_there_is_a_bound(told):
    told.link = None
    for number in range((MOST + 10) * TOGETHER):
        told.releases.add(AGENT, number.to_bytes(3, "big"))
    told.link = FakeLink()
    told.releases.tell()
    assert len(told.link.told) == MOST
    assert told.link.keys()[0] == (10 * TOGETHER).to_bytes(3, "big"), "the oldest ones went"
