"""A secret is its name; the value is there only for who asks for it."""

import copy
import dataclasses
import json
import logging
import pickle
import sys
import types

import pydantic
import pytest

import agentd
from agentd import serialization
from agentd.client import secrets
from agentd.client.redaction import Redactions
from agentd.client.references import References
from agentd.client.secrets import Secret, Sources
from agentd.errors import ConfigError, DecodeError, SecretNotFound

VALUE = "sk-canary-4711"


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """What this test reveals concerns no other."""
    monkeypatch.setattr(secrets, "redactions", Redactions())
    return secrets.redactions


@pytest.fixture
def table(monkeypatch, tmp_path):
    """This process has a table, as a worker has."""
    monkeypatch.setenv("CANARY_KEY", VALUE)
    (tmp_path / "key").write_text(VALUE + "\n")
    found = {"openai": "env:CANARY_KEY", "file": f"file:{tmp_path}/key"}
    monkeypatch.setattr(secrets, "_sources", [Sources(found, {"told": VALUE})])
    return found


@pytest.mark.parametrize("name", ["openai", "a.b-c_1", "env:HOME", "file:/run/x", "keyring:s/u"])
def test_what_can_be_named(name):
    assert Secret(name).name == name
    assert Secret(name).is_direct == (":" in name)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a", "env:", "env:A-B", "file:rel", "keyring:s", "http://x", 5, "a\n"]
)
def test_what_cannot_is_not_repeated(name):
    with pytest.raises(ConfigError) as caught:
        Secret(name)
    assert str(caught.value).startswith("a secret is the name of an entry")
    assert "a b" not in str(caught.value)


def test_the_value_comes_from_where_the_table_says(table):
    assert [Secret(n).reveal() for n in ("openai", "file", "told")] == [VALUE] * 3


@pytest.mark.parametrize("kind", ["env:CANARY_KEY", "file:{folder}/key"])
def test_a_direct_one_says_so_itself(kind, table, tmp_path):
    assert Secret(kind.format(folder=tmp_path)).reveal() == VALUE


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("other", "no secret 'other'"),
        ("env:NOT_SET_HERE", "NOT_SET_HERE is not set"),
        ("file:/nowhere/x", "No such file"),
        ("file:/dev/null", "is no file"),
        ("keyring:service/user", "agentd-server"),
    ],
)
def test_one_without_a_value_says_where_it_was_looked_for(name, says, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SecretNotFound, match=says) as caught:
        Secret(name).reveal()
    assert caught.value.secret == name


def test_a_file_that_is_no_text_is_not_quoted(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\xfe" + VALUE.encode())
    with pytest.raises(SecretNotFound) as caught:
        Secret(f"file:{tmp_path}/key").reveal()
    assert caught.value.__cause__ is None
    assert VALUE not in str(caught.value)


def test_outside_of_a_daemon_there_is_no_table():
    with pytest.raises(SecretNotFound, match="no daemon hosts this"):
        Secret("openai").reveal()


def test_the_keyring_is_asked(monkeypatch):
    ring = types.ModuleType("keyring")
    ring.get_password = lambda service, user: f"{service}+{user}"
    monkeypatch.setitem(sys.modules, "keyring", ring)
    assert Secret("keyring:mail/me").reveal() == "mail+me"


def test_no_form_of_it_has_the_value(table, caplog):
    secret = Secret("openai")
    assert secret.reveal() == VALUE
    logging.getLogger().warning("%s %r", secret, secret)
    forms = [repr(secret), str(secret), f"{secret:>30}", caplog.text]
    forms += [pickle.dumps(secret).decode("latin-1"), repr(vars(Secret)), repr([secret])]
    assert not [form for form in forms if VALUE in form]
    assert "[secret openai]" in forms[1]


def test_copies_and_pickles_are_equal():
    secret = Secret("openai")
    for same in (copy.copy(secret), copy.deepcopy([secret])[0], pickle.loads(pickle.dumps(secret))):
        assert same == secret
        assert hash(same) == hash(secret)
    assert secret != Secret("other")
    assert secret != "openai"


@dataclasses.dataclass(frozen=True)
class Settings:
    key: Secret
    retries: int = 3


class Model(pydantic.BaseModel):
    key: Secret


def test_in_dataclasses():
    found = Settings(Secret("openai"))
    assert found == dataclasses.replace(found, retries=3)
    assert pickle.loads(pickle.dumps(found)) == found


def test_in_pydantic_models():
    model = Model(key=Secret("openai"))
    assert json.loads(model.model_dump_json()) == {"key": "openai"}
    assert Model.model_validate_json('{"key": "openai"}') == model
    assert Model(key=Secret("env:HOME")).key.is_direct
    with pytest.raises(pydantic.ValidationError):
        Model.model_validate({"key": "env:HOME"})  # text must not choose what is read


# -- travelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_only", [True, False])
def test_it_travels_as_its_name(table, data_only):
    refs = References()
    secret = Secret("openai")
    secret.reveal()
    sent = serialization.encode({"a": [secret]}, refs=refs, data_only=data_only)
    assert VALUE.encode() not in sent.head
    assert serialization.decode(*sent, refs=refs, data_only=data_only) == {"a": [secret]}


def test_who_may_only_send_data_cannot_name_a_source():
    refs = References()
    sent = serialization.encode(Secret("file:/etc/shadow"), refs=refs, data_only=True)
    assert serialization.decode(*sent, refs=refs) == Secret("file:/etc/shadow")
    with pytest.raises(DecodeError, match="names its source itself"):
        serialization.decode(*sent, refs=refs, data_only=True)


@pytest.mark.parametrize("wire", [("secret",), ("secret", "a b"), ("secret", 5, 6), ("secret", "")])
def test_a_malformed_reference(wire):
    with pytest.raises(DecodeError, match="malformed"):
        References().from_wire(wire)


def test_it_is_part_of_the_front_door():
    assert agentd.Secret is Secret


def test_revealing_registers_the_value_for_redaction(table, found):
    Secret("openai").reveal()
    assert found.text(f"key={VALUE}.") == "key=[secret openai]."
