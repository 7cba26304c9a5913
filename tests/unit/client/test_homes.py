"""References to and from a daemon on another host: each side reads the name that it knows."""

from types import SimpleNamespace

import pytest

from agentd.client.homes import AtHome
from agentd.client.references import FILE, RESULT

HERE, HOME, OTHER = "tcp://far:5577", "ipc:///run/agentd/agentd.sock", "tcp://other:1"
SESSION = SimpleNamespace(endpoint=HERE, home=HOME)


class Refs:
    """Takes a reference for what it means."""

    def to_wire(self, obj):
        return obj if isinstance(obj, tuple) else None

    def from_wire(self, wire):
        return wire


def references(endpoint):
    return [
        (b"a" * 16, endpoint, "m:C", None, None, None, None),
        (RESULT, b"k" * 24, b"a" * 16, endpoint, 1),
        (FILE, b"t" * 16, b"a" * 16, endpoint, 1, "name", 5),
    ]


@pytest.mark.parametrize(
    ("here", "home"), list(zip(references(HERE), references(HOME), strict=True))
)
def test_the_daemon_is_named_as_each_side_knows_it(here, home):
    refs = AtHome(Refs(), SESSION)
    assert refs.to_wire(here) == home
    assert refs.from_wire(list(home)) == here


@pytest.mark.parametrize("wire", references(OTHER))
def test_other_daemons_keep_their_names(wire):
    refs = AtHome(Refs(), SESSION)
    assert refs.to_wire(wire) == refs.from_wire(wire) == wire


@pytest.mark.parametrize("wire", [(), (RESULT,), (b"a",), ("x", 1, 2)])
def test_what_is_no_reference_is_left_to_those_who_read_it(wire):
    assert AtHome(Refs(), SESSION).from_wire(wire) == wire


def test_what_is_no_agent_is_none():
    assert AtHome(Refs(), SESSION).to_wire(5) is None
