"""How a worker writes and reads references to files."""

import contextvars

import pytest

from agentd import serialization
from agentd.client.context import CurrentCall, running
from agentd.client.files import File
from agentd.client.proxy import RpcObject
from agentd.client.references import References
from agentd.errors import ResultExpired, SerializationError
from agentd.worker.hosted import Hosted
from agentd.worker.references import HostReferences
from agentd.worker.turns import TurnOptions
from tests.unit.worker.fakes import NOWHERE, Later

AGENT, OTHER = b"a" * 16, b"b" * 16


@pytest.fixture
def refs():
    return HostReferences("ipc:///some/where", {})


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "report"
    file.write_bytes(b"0123456789")
    return file


def hosted(agent):
    return Hosted(agent, 1, "m:C", Later(), TurnOptions(), NOWHERE)


def within(agent, function, *args, epoch=1):
    """As the agent's code would do it."""

    def run():
        running.set(CurrentCall(agent, epoch))
        return function(*args)

    return contextvars.Context().run(run)


def test_it_is_the_agent_whose_code_runs_that_lets_it_be_read(refs, path):
    file = File(path)
    mark, token, agent, endpoint, epoch, name, size = within(AGENT, refs.to_wire, file, epoch=3)
    assert (mark, agent, endpoint, epoch, name, size) == (
        "file",
        AGENT,
        "ipc:///some/where",
        3,
        "report",
        10,
    )
    assert refs.files.read(AGENT, token, 0, 4) == b"0123"
    assert within(OTHER, refs.to_wire, file)[1:3] != (token, AGENT)


def test_outside_of_a_call_it_is_the_agent_that_made_it(refs, path):
    file = within(AGENT, File, path, epoch=2)
    assert refs.to_wire(file)[2:5:2] == (AGENT, 2)


def test_a_file_of_no_agent_does_not_travel(refs, path):
    assert refs.to_wire(File(path)) is None
    with pytest.raises(SerializationError, match="names a file of this host"):
        serialization.encode([File(path)], refs=refs)


def test_what_is_not_there_any_more_is_told_as_it_is(refs, path):
    file = within(AGENT, File, path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        serialization.encode([file], refs=refs)


def test_back_at_its_agent_it_is_the_file_itself(refs, path):
    link = path.with_name("link")
    link.symlink_to(path)
    wire = within(AGENT, refs.to_wire, File(link))
    found = within(AGENT, refs.from_wire, wire)
    assert (found.path, found.name, found.size) == (path, "link", 10)
    assert within(AGENT, refs.to_wire, found) == wire
    # To others, and where the token is not known, it is one that is read from elsewhere.
    for elsewhere in (
        within(OTHER, refs.from_wire, wire),
        refs.from_wire(wire),
        within(AGENT, HostReferences("ipc:///some/where", {}).from_wire, wire),
        References().from_wire(wire),
    ):
        assert elsewhere.reference.wire() == wire
        assert within(OTHER, refs.to_wire, elsewhere) == wire


def test_when_the_agent_is_gone_so_are_its_tokens(refs, path):
    token = within(AGENT, refs.to_wire, File(path))[1]
    refs.forget(hosted(OTHER))
    assert refs.files.read(AGENT, token, 0, 1) == b"0"
    refs.forget(hosted(AGENT))
    with pytest.raises(ResultExpired):
        refs.files.read(AGENT, token, 0, 1)


class Agent:
    pass


def test_an_agent_is_itself_to_its_own_code_until_it_is_gone(path):
    agents = {AGENT: hosted(AGENT), OTHER: hosted(OTHER)}
    refs, me = HostReferences("ipc:///some/where", agents), Agent()
    refs.know(me, agents[AGENT])  # before ``__init__`` runs
    wire = within(AGENT, refs.to_wire, me)
    assert wire[:4] == (AGENT, "ipc:///some/where", "m:C", None)
    assert within(AGENT, refs.from_wire, wire) is me
    assert issubclass(type(within(OTHER, refs.from_wire, wire)), RpcObject)
    refs.leaves(agents[AGENT])
    leaving = agents.pop(AGENT)
    assert within(AGENT, refs.from_wire, wire) is me, "its last calls still run"
    refs.forget(leaving)
    assert within(AGENT, refs.from_wire, wire) is not me
    assert refs.to_wire(me) is None
