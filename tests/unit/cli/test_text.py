"""Nothing reaches a terminal that a terminal would obey."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd_cli.text import escape, is_plain, one_line, to_json

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(st.characters()))
def test_escaped_text_is_printable(text):
    assert escape(text).isprintable()


@given(st.text(st.characters()))
def test_one_line_is_one_line(text):
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("plain ünï 数", "plain ünï 数"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\t", "a\\nb\\t"),
        ("\u202e", "\\u202e"),
        ("\x9b", "\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_escape(raw, safe):
    assert escape(raw) == safe


def test_kept_characters_pass():
    assert escape("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@given(plain)
def test_plain_data_comes_back_from_json(value):
    assert is_plain(value)
    assert json.loads(to_json(value)) == value


@given(plain)
def test_json_is_safe_for_a_terminal(value):
    assert to_json(value).replace("\n", "").isprintable()
    assert "\n" not in to_json(value, indent=None)


@pytest.mark.parametrize("value", [{1: 2}, b"", {1, 2}, float("inf"), [object()], 1j])
def test_other_values_are_not_plain(value):
    assert not is_plain(value)
    json.loads(to_json(value))


def test_what_has_no_json_form_becomes_its_repr_in_place():
    assert json.loads(to_json({"a": [b"x", 1]})) == {"a": [{"repr": "b'x'"}, 1]}
