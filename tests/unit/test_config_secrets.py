"""The setting ``secrets``: a table of sources, never shown in errors."""

import pytest

from agentd.config import ServerConfig, load
from agentd.errors import ConfigError

TABLE = {"openai": "env:OPENAI_API_KEY", "db": "file:/run/secrets/db", "mail": "keyring:mail/me"}


def test_from_a_file(tmp_path):
    file = tmp_path / "agentd.toml"
    file.write_text("[secrets]\n" + "\n".join(f'{k} = "{v}"' for k, v in TABLE.items()))
    assert load(file, env={}).secrets == TABLE


def test_from_the_environment():
    text = ", ".join(f"{k}={v}" for k, v in TABLE.items())
    assert load(env={"AGENTD_SECRETS": text}).secrets == TABLE


def test_settings_with_a_table_can_be_compared_and_hashed():
    one, other = ServerConfig(secrets=load(env={}).secrets), ServerConfig()
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "table",
    [
        {"openai": "sk-canary"},
        {"a b": "env:X"},
        {"openai": "file:relative"},
        {"openai": "env:"},
        {"openai": 5},
        ["sk-canary"],
        "sk-canary",
    ],
)
def test_what_is_none_is_refused_and_not_repeated(table, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(flags={"secrets": table}, env={})
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value.facts)


@pytest.mark.parametrize("settings", [{"worker_memory_bytes": 1}, {"worker_files": 5}])
def test_limits_with_which_no_worker_could_start_are_refused(settings):
    with pytest.raises(ConfigError, match="too little"):
        ServerConfig(**settings)
