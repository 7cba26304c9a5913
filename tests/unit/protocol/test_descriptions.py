"""Both sides mean the same description by a number, whatever was forgotten meanwhile."""

import pytest

from agentd.protocol.descriptions import MOST, Heard, Told


@pytest.fixture
def abouts():
    return [{"qualname": f"C{number}"} for number in range(2 * MOST)]


def test_a_description_is_sent_once(abouts):
    told, heard = Told(), Heard()
    number, sent = told.tell(abouts[0])
    assert sent == abouts[0]
    assert heard.hear(number, sent) == abouts[0]
    again, sent = told.tell(abouts[0])
    assert (again, sent) == (number, {})
    assert heard.hear(again, {}) == abouts[0]


def test_an_equal_one_of_another_class_is_sent_as_well():
    told = Told()
    assert all(told.tell({"qualname": "C"})[1] for _ in range(2))


def test_both_sides_forget_the_same_ones(abouts):
    told, heard = Told(), Heard()
    order = [*range(2 * MOST), *range(MOST), 0, 2 * MOST - 1, 0, *range(2 * MOST - 1, 0, -1)]
    for which in order:
        assert heard.hear(*told.tell(abouts[which])) == abouts[which]
    assert len(told._told) == len(heard._heard) == MOST


def test_what_never_came_is_empty():
    assert Heard().hear(7, {}) == {}
