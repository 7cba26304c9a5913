import pytest

from agentd.errors import AgentCrashed, AgentError, AgentNotFound, NameTaken
from agentd.protocol.messages import Create
from agentd.server.directory import Agent, Directory, crashed


def agent(number=1, name=None, owner=b"o", parent=None, lifetime="client"):
    spec = Create(1, bytes([number]) * 16, "pkg:Cls", "spec", "data", name, lifetime, parent=parent)
    return Agent(spec.agent, spec, [], owner, 0.0)


@pytest.fixture
def directory():
    return Directory(3)


def test_found_by_name_id_and_prefix(directory):
    one, two = agent(0x11, "tally"), agent(0x12)
    directory.add(one), directory.add(two)

    assert directory.find("tally") is one
    assert directory.find("11" * 16) is one
    assert directory.find("1111") is one
    assert directory.find("1212") is two
    assert directory.get(two.id) is two


@pytest.mark.parametrize("text", ["", "1", "111", "zzzz", "1313", "11111112", "é", "tall"])
def test_what_is_not_there(directory, text):
    directory.add(agent(0x11, "tally"))

    with pytest.raises(AgentNotFound):
        directory.find(text)


def test_an_ambiguous_prefix_says_so(directory):
    first = agent(0x11)
    second = Agent(b"\x11" * 15 + b"\x12", first.spec, [], b"", 0)
    directory.add(first), directory.add(second)

    with pytest.raises(AgentNotFound, match="2 agents"):
        directory.find("1111")
    assert directory.find("11" * 15 + "12") is second


def test_a_name_that_looks_like_an_id_comes_first(directory):
    one, two = agent(0x11), agent(0x12, "1111")
    directory.add(one), directory.add(two)

    assert directory.find("1111") is two


def test_names_and_ids_are_unique_and_names_come_free_again(directory):
    one = agent(1, "tally")
    directory.add(one)
    with pytest.raises(NameTaken):
        directory.add(agent(2, "tally"))
    with pytest.raises(AgentError):
        directory.add(agent(1))
    directory.remove(one, "done")
    with pytest.raises(AgentError, match="existed"):
        directory.add(agent(1))

    directory.add(agent(3, "tally"))


def test_a_tombstone_tells_when_and_why(directory):
    one = agent(1, "tally")
    directory.add(one)
    directory.remove(one, "it was deleted")

    for look in (
        lambda: directory.get(one.id),
        lambda: directory.find("tally"),
        lambda: directory.find("0101"),
    ):
        with pytest.raises(AgentNotFound, match="it was deleted") as caught:
            look()
        assert caught.value.reason == "it was deleted"
        assert caught.value.ended_at > 0
        assert caught.value.name == "tally"


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_tombstones_are_bounded_and_the_oldest_go_first(limit):
    directory = Directory(limit)
    for number in range(1, 8):
        one = agent(number)
        directory.add(one)
        directory.remove(one, "x")

    kept = [n for n in range(1, 8) if directory.tombstone(bytes([n]) * 16)]
    assert kept == list(range(8 - limit, 8))
    with pytest.raises(AgentNotFound, match="not known here"):
        directory.get(b"\1" * 16)


def test_owners_and_children(directory):
    maker = agent(1)
    directory.add(maker)
    child, other = agent(2, parent=maker.id, owner=b"x"), agent(3, lifetime="daemon")
    directory.add(child), directory.add(other)

    assert directory.owned_by(b"o") == [maker]
    assert directory.owned_by(b"x") == directory.children_of(maker.id) == [child]
    assert directory.owned_by(b"nobody") == []
    directory.remove(child, "x")
    assert directory.owned_by(b"x") == directory.children_of(maker.id) == []


def test_fates_are_bounded_and_outlive_the_agent(directory):
    one = agent(1)
    directory.add(one)
    for epoch in range(1, 12):
        one.remember_fate(epoch, crashed(one, {"signal": None, "exit_code": epoch}))

    assert sorted(one.fates) == list(range(4, 12))
    assert directory.fate(one.id, 11).exit_code == 11
    assert directory.fate(one.id, 12) is None
    directory.remove(one, "x")
    assert isinstance(directory.fate(one.id, 11), AgentCrashed)
    assert isinstance(directory.fate(one.id, 12), AgentNotFound)
    assert isinstance(directory.fate(b"?" * 16, 1), AgentNotFound)
