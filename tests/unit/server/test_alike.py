"""What the agents of a class have in common is kept once."""

import pytest

from agentd.protocol.messages import Create
from agentd.server.alike import MOST_CLASSES, SMALL, Alike


def order(number=1, cls="m:C", **fields):
    return Create(number, bytes([number]) * 16, cls, "spec", "data", at=number / 8, **fields)


@pytest.fixture
def alike():
    return Alike()


def test_orders_that_differ_in_number_agent_and_time_are_one(alike):
    spec, payload = alike.made(order(1), [b"head"])
    assert (spec, payload) == (order(1).changed(id=0, agent=b"", at=0.0), [b"head"])
    again, same = alike.made(order(2), [b"he" + b"ad"])
    assert again is spec
    assert same is payload


@pytest.mark.parametrize("field", [f for f in Create.names if f not in ("id", "agent", "at")])
def test_orders_that_differ_in_anything_else_are_their_own(alike, field):
    spec, _payload = alike.made(order(1), [b"head"])
    differs = order(2).changed(**{field: {"mailbox": 1} if field == "options" else ["x"]})
    if field == "cls":
        differs = order(2, "m:D")
    other, _payload = alike.made(differs, [b"head"])
    assert other == differs.changed(id=0, agent=b"", at=0.0)
    assert other != spec


def test_of_other_arguments_the_order_is_the_same_and_the_payload_is_not(alike):
    spec, _payload = alike.made(order(1), [b"head"])
    again, payload = alike.made(order(2), [b"head", b"more"])
    assert again is spec
    assert payload == [b"head", b"more"]


@pytest.mark.parametrize("part", [bytes(SMALL + 1), memoryview(b"mapped")])
def test_a_long_payload_is_not_kept_for_agents_to_come(alike, part):
    alike.made(order(1), [part])
    payload = [part]
    assert alike.made(order(2), payload)[1] is payload


def test_of_too_many_classes_all_are_forgotten(alike):
    first, _payload = alike.made(order(1), [])
    for number in range(MOST_CLASSES):
        alike.made(order(1, f"m:C{number}"), [])
    again, _payload = alike.made(order(1), [])
    assert again == first
    assert again is not first


def test_equal_descriptions_of_a_class_are_one(alike):
    first = alike.about("m:C", {"methods": {"add": 0}})
    assert alike.about("m:C", {"methods": {"add": 0}}) is first
    changed = {"methods": {"add": 1}}
    assert alike.about("m:C", changed) is changed
