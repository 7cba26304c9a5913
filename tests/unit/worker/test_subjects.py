"""What a worker knows of agents, here and gone."""

from agentd.protocol.access import Subject
from agentd.worker.subjects import Subjects

ONE, OTHER = b"1" * 16, b"2" * 16


def test_of_those_that_are_here_all_is_known():
    known = Subjects()
    known.came(ONE, "calc", "key:me")
    known.came(OTHER, None, "uid:1")
    assert known.of(ONE) == Subject(ONE.hex(), "calc", "key:me")
    assert known.of(OTHER) == Subject(OTHER.hex(), "", "uid:1")


def test_of_others_the_id_alone():
    assert Subjects().of(ONE) == Subject(ONE.hex())


def test_those_that_left_are_remembered_for_as_long_as_there_is_room():
    known = Subjects(most=2)
    agents = [bytes([n]) * 16 for n in range(4)]
    for agent in agents:
        known.came(agent, f"a{agent[0]}", "key:me")
    for agent in agents[:3]:
        known.left(agent)
    assert [known.of(agent).name for agent in agents] == ["", "a1", "a2", "a3"]
    known.left(b"x" * 16)  # never here


def test_one_that_comes_back_is_what_it_is_now():
    known = Subjects(most=1)
    known.came(ONE, "calc", "key:me")
    known.left(ONE)
    known.came(ONE, "calc", "key:other")
    assert known.of(ONE).maker == "key:other"
