"""What a worker knows of agents, here and gone."""

from agentd.protocol.access import Subject
from agentd.worker.departed import Departed
from agentd.worker.hosted import Agents, Hosted
from agentd.worker.turns import TurnOptions
from tests.unit.worker.fakes import NOWHERE, Later

ONE, OTHER = b"1" * 16, b"2" * 16


def hosted(agent, name=None, maker="key:me"):
    return Hosted(agent, 1, "m:C", Later(), TurnOptions(), NOWHERE, name, maker)


def test_of_those_that_are_here_all_is_known():
    agents = Agents()
    agents.come(hosted(ONE, "calc"))
    agents.come(hosted(OTHER, maker="uid:1"))
    assert agents.subject(ONE) == Subject(ONE.hex(), "calc", "key:me")
    assert agents.subject(OTHER) == Subject(OTHER.hex(), "", "uid:1")


def test_of_others_the_id_alone():
    assert Agents().subject(ONE) == Subject(ONE.hex())


def test_of_those_that_left_the_same_is_known():
    agents, one = Agents(), hosted(ONE, "calc")
    agents.come(one)
    agents.leave(one)
    assert ONE not in agents
    assert agents.subject(ONE) == Subject(ONE.hex(), "calc", "key:me")


def test_those_that_left_are_remembered_for_as_long_as_there_is_room():
    departed = Departed(most=2)
    agents = [bytes([n]) * 16 for n in range(4)]
    for agent in agents[:3]:
        departed.remember(agent, Subject(agent.hex(), f"a{agent[0]}", "key:me"))
    assert [departed.subject(agent).name for agent in agents] == ["", "a1", "a2", ""]


def test_one_that_comes_back_is_what_it_is_now():
    agents = Agents()
    one = hosted(ONE, "calc")
    agents.come(one)
    agents.leave(one)
    agents.come(hosted(ONE, "calc", maker="key:other"))
    assert agents.subject(ONE).maker == "key:other"
    assert not agents._departed._left
