"""Over TCP, with real keys: what a role may do there, and what a client believes of the server."""

import datetime

import pytest

import agentd
from agentd import keys
from agentd.errors import CodecNotAllowed, NotAllowed, SerializationError
from agentd.keys import Role
from tests.integration.gatekeeping import Clerk, NotForYou, Order

CLERK = "tests.integration.gatekeeping:Clerk"


def come_in(door, build, *roles, code, **more):
    """A client with these roles, which trusts the server as far as ``code`` says."""
    lists = {"agents": ("clerk",), "methods": ("echo", "thing")}
    door.grant(roles=frozenset(roles), **lists, **more)
    door.open(build)
    keys.remove_pin(door.client, door.endpoint)
    door.trust(code=code)
    own = agentd.connect(door.daemon.endpoint).create(CLERK, options={"name": "clerk"})
    assert own.echo(1) == 1
    return agentd.connect(door.endpoint)


def test_a_caller_deals_in_plain_data(door, build):
    clerk = come_in(door, build, Role.CALLER, code=True).get("clerk")
    assert clerk.echo((1, datetime.date(2026, 1, 2))) == (1, datetime.date(2026, 1, 2))
    assert clerk.echo.submit(Order("tea")).result(30) == Order("tea")
    for use in (clerk.reveal, lambda: clerk.secret, lambda: len(clerk)):
        with pytest.raises(NotAllowed, match=r"key:.* \(caller\) may not"):
            use()
    with pytest.raises(SerializationError, match="takes only plain data from this client"):
        clerk.echo(Clerk)
    with pytest.raises(SerializationError, match="result of thing"):
        clerk.thing()
    with pytest.raises(NotAllowed):
        agentd.handle(agentd.connect(door.endpoint).create(CLERK)).wait(30)


def test_a_server_that_is_not_trusted_with_code_is_asked_for_data(door, build):
    """Its admin may send pickles there, and reads none from it."""
    client = come_in(door, build, Role.ADMIN, code=False)
    clerk = client.get("clerk")
    assert clerk.kind(Clerk) == "builtins.type", "a class went there"
    assert clerk.echo((1, {2})) == (1, {2})
    with pytest.raises(NotForYou) as caught:
        clerk.fails("me")
    assert caught.value.when == datetime.date(2026, 1, 1)
    with pytest.raises(CodecNotAllowed, match="pickle"):
        agentd.handle(clerk).fetch()
    with pytest.raises(SerializationError, match="result of thing"):
        clerk.thing()


def test_one_that_is_trusted_with_code_is_read_as_ones_own(door, build):
    clerk = come_in(door, build, Role.ADMIN, code=True).get("clerk")
    assert clerk.thing().__name__ == "Event"
    assert type(agentd.handle(clerk).fetch()) is Clerk
