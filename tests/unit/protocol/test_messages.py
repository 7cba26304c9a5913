import pytest

from agentd.errors import AgentCrashed, AgentdError, NameTaken, from_wire
from agentd.protocol import error_message
from agentd.protocol.messages import KINDS, Call, Cancel, Create, Ping, Pong, StartFailed


def test_kinds_are_named_after_their_classes():
    assert KINDS["start_failed"] is StartFailed
    assert all(cls.kind == kind for kind, cls in KINDS.items())


def test_a_message_is_a_value():
    assert Ping(1) == Ping(id=1)
    assert Ping(1) != Pong(1)
    assert Ping(1) != (1,)
    assert hash(Cancel(b"a", b"k")) == hash(Cancel(b"a", b"k"))
    assert repr(Ping(1)) == "Ping(id=1, at=0.0)"
    with pytest.raises(AttributeError):
        Ping(1).id = 2


def test_defaults_are_filled_in():
    assert Call(1, b"a", 1, "get").name == ""
    assert Create(1, b"a", "m:C", "spec", "data", ack=True).lifetime == "client"


@pytest.mark.parametrize(
    "wrong",
    [Ping, lambda: Ping(1, 2.0, 3), lambda: Ping(1, other=2), lambda: Call(1, op="get")],
)
def test_a_wrong_construction_is_refused(wrong):
    with pytest.raises(TypeError):
        wrong()


def test_an_error_comes_back_as_itself():
    error = AgentCrashed("gone", exit_code=7, signal=None, agent="a")

    message = error_message(3, error)
    again = from_wire(message.code, message.message, message.facts)

    assert type(again) is AgentCrashed
    assert (again.exit_code, again.signal, str(again)) == (7, None, "gone")


def test_a_code_of_a_newer_peer_is_kept():
    again = from_wire("QuotaSpent", "too much", {"left": 0})

    assert type(again) is AgentdError
    assert str(again) == "QuotaSpent: too much"
    assert again.left == 0
    assert issubclass(NameTaken, AgentdError)
