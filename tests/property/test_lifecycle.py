"""Every event in every state, and the diagram in the documentation."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.server.lifecycle import (
    ENDED_STATES,
    TRANSITIONS,
    Event,
    IllegalTransition,
    State,
    after,
)

PAIRS = [(state, event) for state in State for event in Event]
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_pair_leads_where_the_table_says_or_is_refused(state, event):
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=event.value):
            after(state, event)


def test_what_ended_stays_so():
    for state in ENDED_STATES:
        assert not any(source is state for source, _ in TRANSITIONS)


def test_every_other_state_can_be_stopped_and_can_be_reached():
    for state in set(State) - ENDED_STATES:
        assert (state, Event.STOP_REQUESTED) in TRANSITIONS
    assert {State.REQUESTED, *TRANSITIONS.values()} == set(State)


@given(st.lists(st.sampled_from(Event)))
def test_any_story_can_be_brought_to_its_end(story):
    state = State.REQUESTED
    for event in story:
        try:
            state = after(state, event)
        except IllegalTransition:
            continue
    if state not in ENDED_STATES:
        state = after(state, Event.STOP_REQUESTED)
    if state not in ENDED_STATES:
        state = after(state, Event.STOPPED)
    assert state in ENDED_STATES


def told() -> dict[tuple[str, str], str]:
    """The table in the documentation: ``| state | event | next |``."""
    text = PAGE.read_text().partition("## Life of an agent")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \| ([A-Z_]+) \|$", text, re.MULTILINE)
    return {(state, event): following for state, event, following in rows}


def test_the_documentation_shows_the_table():
    expected = {(s.name, e.name): after(s, e).name for s, e in TRANSITIONS}

    assert told() == expected, "\n".join(
        ["write this:", *(f"| {s} | {e} | {n} |" for (s, e), n in expected.items())]
    )
