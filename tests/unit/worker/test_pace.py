import math

import pytest

from agentd.worker.pace import FORGIVEN, HICCUP_S, LONGEST_PROOF, LOST_S, PROOF, QUICK_S, Pace

LONG = 2 * HICCUP_S
HICCUP = 2 * QUICK_S
RARE = math.ceil(HICCUP / LOST_S)
"""Once in so many calls."""


def prove(pace, count=PROOF, name="m"):
    for _ in range(count):
        pace.note(name, 0.0)


def needed(pace, name="m"):
    """How many quick calls it takes to be believed again."""
    count = 0
    while not pace.is_quick(name):
        pace.note(name, 0.0)
        count += 1
    return count


def test_a_method_is_believed_to_be_quick_once_it_was_so_for_a_while():
    pace = Pace(set())
    prove(pace, PROOF - 1)
    assert not pace.is_quick("m")

    pace.note("m", QUICK_S)

    assert pace.is_quick("m")
    assert not pace.is_quick("another")


def test_one_long_call_and_it_has_to_prove_itself_anew_for_longer_each_time():
    pace = Pace(set())
    prove(pace)
    proofs = []
    for _ in range(12):
        pace.note("m", LONG)
        assert not pace.is_quick("m")
        proofs.append(needed(pace))

    assert proofs[0] == 2 * PROOF
    assert proofs == sorted(proofs)
    assert proofs[-1] == LONGEST_PROOF


def test_the_first_one_may_take_long():
    pace = Pace(set())
    pace.note("m", LONG)
    assert needed(pace) == PROOF


def test_a_new_agents_first_one_that_takes_long_counts_where_those_of_others_were_quick():
    alike = set()
    prove(Pace(alike))
    pace = Pace(alike)
    pace.note("m", LONG)
    assert needed(pace) == 2 * PROOF


@pytest.mark.parametrize("least", [1, 2, 100])
def test_how_many_it_takes_can_be_told(least):
    pace = Pace(set(), least)
    assert needed(pace) == least
    pace.note("m", LONG)
    assert needed(pace) == 2 * least


def test_what_was_long_once_is_forgiven():
    pace = Pace(set())
    for _ in range(3):
        pace.note("m", LONG)
    prove(pace, 8 * PROOF + FORGIVEN + 1)

    pace.note("m", LONG)

    assert needed(pace) == 2 * PROOF


@pytest.mark.parametrize("seconds", [HICCUP, HICCUP_S])
def test_a_hiccup_once_in_a_while_changes_nothing(seconds):
    """The longer it is the more seldom it has to be."""
    pace = Pace(set())
    prove(pace)
    for _ in range(10):
        prove(pace, math.ceil(seconds / LOST_S))
        pace.note("m", seconds)
        assert pace.is_quick("m")


def test_what_is_longer_than_any_hiccup_is_none_however_seldom():
    pace = Pace(set())
    prove(pace, FORGIVEN)
    pace.note("m", 1.01 * HICCUP_S)
    assert not pace.is_quick("m")


def test_two_of_them_soon_after_each_other_do():
    pace = Pace(set())
    prove(pace, PROOF + RARE)
    pace.note("m", HICCUP)
    prove(pace, RARE - 1)

    pace.note("m", HICCUP)

    assert needed(pace) == 2 * PROOF


def test_while_they_are_rare_what_was_long_is_forgiven_bit_by_bit():
    pace = Pace(set())
    for _ in range(4):
        pace.note("m", LONG)
    prove(pace, 8 * PROOF)
    for _ in range(2):
        prove(pace, RARE)
        pace.note("m", HICCUP)

    pace.note("m", LONG)

    assert needed(pace) == 4 * PROOF


def test_a_new_agents_methods_are_taken_for_what_those_of_others_of_its_class_were_last():
    alike = set()
    first, second = Pace(alike), Pace(alike)
    prove(first)
    assert second.is_quick("m")
    assert not second.is_quick("another")

    second.note("m", LONG)

    assert not second.is_quick("m")
    assert first.is_quick("m"), "it knows better of its own"
    assert not Pace(alike).is_quick("m")

    assert needed(second) > PROOF
    assert Pace(alike).is_quick("m")


def test_and_are_believed_for_no_longer_than_they_are_so():
    alike = {"m"}
    pace = Pace(alike)
    pace.note("m", HICCUP)
    assert not pace.is_quick("m")
    assert not alike
