"""The values of secrets are left out of text, data and errors."""

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import serialization
from agentd.client.redaction import Redactions
from agentd.errors import ConfigError

VALUE = 'c4n"ar\\y/ü+1'


@pytest.fixture
def found():
    one = Redactions()
    one.add("key", VALUE)
    return one


def test_nothing_to_look_for():
    none = Redactions()
    assert not none
    none.add("short", "abc")
    assert none.text("abc") == "abc"


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        repr(VALUE),
        repr(VALUE.encode()),
        json.dumps({"key": VALUE}),
        json.dumps(VALUE, ensure_ascii=False),
        "https://host/?key=" + urllib.parse.quote(VALUE, safe=""),
        urllib.parse.quote_plus(VALUE),
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
    ],
)
def test_the_forms_that_text_has_of_it(found, form):
    assert "[secret key]" in found.text(f"before {form} after")


@given(st.text(min_size=4, max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_no_text_keeps_it(value, before, after):
    found = Redactions()
    found.add("x", value)
    clean = found.text(f"{before}{value}{after}")
    assert value not in clean.replace("[secret x]", "")


def test_lines_of_a_long_one():
    lines = ["-----BEGIN KEY-----", "MIIEvQIBADANBgkqhki", "-----END KEY-----"]
    found = Redactions()
    found.add("pem", "\n".join(lines))
    assert found.text(lines[0]) == lines[0]
    assert found.text(f"> {lines[1]}") == "> [secret pem]"


def test_one_that_is_part_of_another():
    found = Redactions()
    found.add("long", "abcd-efgh")
    found.add("short", "abcd")
    assert found.text("abcd-efgh abcd") == "[secret long] [secret short]"


def test_plain_data(found):
    value = {VALUE: [(VALUE,), {f"x{VALUE}"}, VALUE.encode(), 7, None]}
    clean = found.value(value)
    assert clean == {
        "[secret key]": [("[secret key]",), {"x[secret key]"}, b"[secret key]", 7, None]
    }
    assert value[VALUE][0] == (VALUE,)


# -- errors ----------------------------------------------------------------------------------------


class Plain(Exception):
    def __init__(self, text, detail):
        super().__init__(text)
        self.detail = detail


class Own(Exception):
    def __reduce__(self):
        return Own, self.args, {"more": self.args[0]}


class Deep:
    """An object that holds the value, where no redaction looks."""

    def __init__(self, value):
        self.headers = {"Authorization": f"Bearer {value}"}


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def chained():
    try:
        raise ValueError(VALUE)
    except ValueError as error:
        return raised_from(KeyError("outer"), error)


def raised_from(error, cause):
    try:
        raise error from cause
    except Exception as caught:
        return caught


def noted():
    error = ValueError("noted")
    error.add_note(f"with {VALUE}")
    return raised(error)


@pytest.mark.parametrize(
    "error",
    [
        raised(ValueError(f"bad key {VALUE}")),
        raised(Plain("bad", {"key": [VALUE]})),
        raised(Own(VALUE)),
        raised(ExceptionGroup(VALUE, [ValueError(VALUE)])),
        raised(FileNotFoundError(2, "no such file", VALUE)),
        raised(UnicodeDecodeError("ascii", VALUE.encode(), 0, 1, VALUE)),
        raised(ConfigError(f"x{VALUE}", value=VALUE)),
        chained(),
        noted(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_travels_as_its_type_without_it(found, error):
    facts, encoded = serialization.encode_error(error, redaction=found)
    assert not found.within([json.dumps(facts, ensure_ascii=False).encode()])
    assert not found.within([encoded.head, *encoded.buffers])
    back = serialization.decode_error(facts, *encoded, may_import=True)
    assert type(back) is type(error)
    assert "[secret key]" in facts["traceback"] or isinstance(error, Plain)


def test_one_that_hides_it_deep_inside_travels_as_text_only(found):
    error = raised(Plain("bad", Deep(VALUE)))
    facts, encoded = serialization.encode_error(error, redaction=found)
    assert encoded is None
    assert facts["type_name"].endswith("Plain")


def test_without_redaction_nothing_changes():
    error = raised(Plain("bad", {"key": [VALUE]}))
    facts, encoded = serialization.encode_error(error)
    assert serialization.decode_error(facts, *encoded, may_import=True).detail == {"key": [VALUE]}
