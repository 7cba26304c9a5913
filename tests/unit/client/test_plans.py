"""A plan holds for one class as it is now, and for the options it was made with."""

import sys
import types

from agentd import serialization
from agentd.client import plans
from agentd.client.options import DEFAULT, DistConf
from agentd.client.plans import Plan, note, plan_for
from agentd.protocol.messages import Create


class Made:
    """What is made by it."""


LABEL = f"{__name__}:Made"


def plan(conf=DEFAULT, cls=LABEL):
    like = Create(1, b"a" * 16, cls, "spec", "data", code=b"c" * 32, at=1.5)
    return Plan(conf, "a session", None, like)


def test_it_holds_for_its_class_and_its_options_only():
    note(Made, plan())
    assert plan_for(Made, DEFAULT) is not None
    assert plan_for(Made, DistConf()) is None
    assert plan_for(type("Other", (), {}), DEFAULT) is None


def test_it_does_not_hold_for_a_class_that_was_replaced(monkeypatch):
    module = types.ModuleType("replaced")
    monkeypatch.setitem(sys.modules, "replaced", module)
    one, other = (type("A", (), {"__module__": "replaced"}) for _ in range(2))
    module.A = one
    note(one, plan(cls="replaced:A"))
    assert plan_for(one, DEFAULT) is not None
    module.A = other
    assert plan_for(one, DEFAULT) is None
    one.__qualname__ = "B"
    module.B = one
    assert plan_for(one, DEFAULT) is None


def test_it_does_not_hold_for_long(monkeypatch):
    monkeypatch.setattr(plans, "FRESH_S", 0.0)
    note(Made, plan())
    assert plan_for(Made, DEFAULT) is None


def test_the_next_order_is_as_the_last_one():
    made = plan().like(b"b" * 16, "pickle")
    assert made == Create(0, b"b" * 16, LABEL, "spec", "pickle", code=b"c" * 32, at=1.5)
    assert plan().like(b"b" * 16, "data").codec == "data"


def test_the_payload_without_arguments_is_made_once():
    mine = plan()
    assert mine.encode(Made, (), {}, None) is mine.encode(Made, (), {}, None)
    assert mine.encode(Made, (1,), {}, None).head != mine.encode(Made, (), {}, None).head


def by_value(cls):
    """A plan for a class that travels by value, as it is noted when one was sent."""
    encoded = serialization.encode_spec(cls, (), {})
    like = Create(1, b"a" * 16, f"{cls.__module__}:{cls.__qualname__}", "spec", encoded.codec)
    definition = serialization.definition_of(cls)
    assert definition is not None
    return Plan(DEFAULT, "a session", None, like, definition)


def unimportable():
    class Local:
        def ask(self):
            return helper()

    return Local


def helper():
    return 1


def test_a_class_that_travels_by_value_does_so_by_plan():
    cls = unimportable()
    mine = by_value(cls)
    note(cls, mine)
    assert plan_for(cls, DEFAULT) is mine
    assert mine.encode(cls, (), {}, None) is mine.encode(cls, (), {}, None)
    made, args, kwargs = serialization.decode_spec(*mine.encode(cls, (1,), {"x": 2}, None))
    assert (made, args, kwargs) == (cls, (1,), {"x": 2})
    assert plan_for(unimportable(), DEFAULT) is None


def test_it_does_not_hold_once_what_the_class_uses_is_bound_anew(monkeypatch):
    cls = unimportable()
    note(cls, by_value(cls))
    monkeypatch.setitem(globals(), "helper", lambda: 2)
    assert plan_for(cls, DEFAULT) is None


def test_it_does_not_hold_for_a_class_that_got_another_method():
    cls = unimportable()
    note(cls, by_value(cls))
    cls.ask = lambda _self: 3
    assert plan_for(cls, DEFAULT) is None
