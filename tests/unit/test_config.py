"""Settings: which source wins, and what a wrong one is told."""

import dataclasses
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.config import OTHER_VARIABLES, ServerConfig, describe, load, ports_of
from agentd.errors import ConfigError


@pytest.fixture
def toml(tmp_path):
    def write(text):
        file = tmp_path / "agentd.toml"
        file.write_text(text)
        return file

    return write


def refusal(file=None, env=None, flags=None):
    with pytest.raises(ConfigError) as caught:
        load(file, env or {}, flags)
    return caught.value


class TestSources:
    def test_nothing_given_means_defaults(self):
        assert load(env={}) == ServerConfig()

    def test_the_file_wins_over_the_default(self, toml):
        assert load(toml("workers = 3"), env={}).workers == 3

    def test_the_environment_wins_over_the_file(self, toml):
        assert load(toml("workers = 3"), env={"AGENTD_WORKERS": "4"}).workers == 4

    def test_a_flag_wins_over_the_environment(self, toml):
        config = load(toml("workers = 3"), {"AGENTD_WORKERS": "4"}, {"workers": 5})
        assert config.workers == 5

    def test_zero_is_a_value(self, toml):
        assert load(toml("workers = 3"), {"AGENTD_WORKERS": "0"}).workers == 0
        assert load(toml("workers = 3"), {}, {"workers": 0}).workers == 0

    def test_flags_that_were_not_given_do_not_count(self, toml):
        file = toml('workers = 3\nbind = ["ipc:///a/b"]')
        config = load(file, {}, {"workers": None, "bind": (), "log_level": None})
        assert (config.workers, config.bind) == (3, ("ipc:///a/b",))

    def test_an_empty_variable_counts_as_not_set(self):
        assert load(env={"AGENTD_WORKERS": "", "AGENTD_BIND": ""}) == ServerConfig()

    def test_the_environment_of_the_process_is_the_default(self, monkeypatch):
        monkeypatch.setenv("AGENTD_WORKERS", "7")
        assert load().workers == 7

    def test_the_environment_is_not_changed(self):
        env = {"AGENTD_WORKERS": "2"}
        load(env=env)
        assert env == {"AGENTD_WORKERS": "2"}

    @pytest.mark.parametrize("variable", OTHER_VARIABLES)
    def test_variables_of_the_client_are_left_alone(self, variable):
        assert load(env={variable: "ipc:///x"}) == ServerConfig()


class TestValues:
    def test_lists_in_the_environment(self):
        env = {
            "AGENTD_BIND": "ipc:///a/1, ipc:///a/2,",
            "AGENTD_PATH": os.pathsep.join(["/x", "", "/y"]),
        }
        config = load(env=env)
        assert config.bind == ("ipc:///a/1", "ipc:///a/2")
        assert config.path == ("/x", "/y")

    def test_whole_numbers_are_fine_for_seconds(self, toml):
        config = load(toml("shutdown_grace_s = 3"), {"AGENTD_CLIENT_GRACE_S": "20"})
        assert (config.shutdown_grace_s, config.client_grace_s) == (3.0, 20.0)
        assert isinstance(config.shutdown_grace_s, float)

    def test_levels_in_capitals(self):
        assert load(env={"AGENTD_LOG_LEVEL": "INFO"}).log_level == "info"

    def test_folders_in_a_file_count_from_the_file(self, toml, tmp_path):
        file = toml('path = ["mine", "/abs"]\nrun_dir = "run"')
        config = load(file, env={})
        assert config.path == (str(tmp_path / "mine"), "/abs")
        assert config.run_dir == str(tmp_path / "run")

    def test_folders_elsewhere_count_from_the_working_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/somebody")
        config = load(None, {"AGENTD_RUN_DIR": "run"}, {"path": ("mine", "~/other")})
        assert config.path == (str(tmp_path / "mine"), "/home/somebody/other")
        assert config.run_dir == str(tmp_path / "run")

    @given(workers=st.integers(0, 1024), grace=st.floats(0, 86_400), limit=st.integers(0, 10**6))
    def test_what_is_written_is_what_is_read(self, workers, grace, limit):
        config = ServerConfig(workers=workers, shutdown_grace_s=grace, restart_limit=limit)
        env = {
            "AGENTD_WORKERS": str(workers),
            "AGENTD_SHUTDOWN_GRACE_S": repr(grace),
            "AGENTD_RESTART_LIMIT": str(limit),
        }
        assert load(env=env) == config

    @given(key=st.sampled_from([s.key for s in describe()]), text=st.text())
    def test_any_text_is_a_value_or_a_config_error(self, key, text):
        try:
            load(env={f"AGENTD_{key.upper()}": text})
        except ConfigError as error:
            assert key.upper() in error.message or key in error.message


class TestRefusals:
    @pytest.mark.parametrize(
        ("key", "near"),
        [("worker", "workers"), ("bindd", "bind"), ("shutdown_grace", "shutdown_grace_s")],
    )
    def test_an_unknown_key_names_the_nearest_right_one(self, toml, key, near):
        file = toml(f"{key} = 1")
        assert refusal(file).message == f"{file}: unknown setting {key}; did you mean {near}?"
        assert f"did you mean AGENTD_{near.upper()}?" in (
            refusal(env={f"AGENTD_{key.upper()}": "1"}).message
        )
        assert f"did you mean {near}?" in refusal(flags={key: 1}).message

    def test_a_key_near_to_nothing_lists_all(self, toml):
        message = refusal(toml("zzzzzz = 1")).message
        assert "known are" in message
        assert "workers" in message

    def test_a_misspelt_endpoint_variable(self):
        assert "did you mean AGENTD_ENDPOINT?" in refusal(env={"AGENTD_ENDPONT": "x"}).message

    def test_a_table_in_the_file_is_an_unknown_key(self, toml):
        assert "unknown setting server" in refusal(toml("[server]\nworkers = 1")).message

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ('workers = "3"', "a whole number from 0 to 1,024"),
            ("workers = true", "a whole number from 0 to 1,024"),
            ("workers = 1.5", "a whole number from 0 to 1,024"),
            ("workers = -1", "a whole number from 0 to 1,024"),
            ("workers = 1025", "a whole number from 0 to 1,024"),
            ("heartbeat_s = 0", "seconds from 0.05 to 60"),
            ("heartbeat_s = nan", "seconds from 0.05 to 60"),
            ("restart_window_s = inf", "seconds more than 0 to 86,400"),
            ("client_grace_s = true", "seconds more than 0 to 86,400"),
            ('log_level = "loud"', "one of debug, info, warning, error, critical"),
            ("log_format = 1", "one of text, json"),
            ("run_dir = 1", "text"),
            ('path = "/x"', "a list of text"),
            ("path = [1]", "a list of text"),
            ('path = [""]', "a list of text"),
        ],
    )
    def test_a_wrong_value_names_source_key_value_and_what_is_expected(self, toml, line, expected):
        file = toml(line)
        key = line.split(" = ")[0]
        error = refusal(file)
        assert re.fullmatch(
            rf"{re.escape(str(file))}: {key} = .*: expected {re.escape(expected)}", error.message
        )
        assert (error.source, error.key) == (str(file), key)

    def test_a_wrong_variable_is_named_as_it_is_written(self):
        error = refusal(env={"AGENTD_WORKERS": "many"})
        assert error.message.startswith("environment: AGENTD_WORKERS = 'many': expected")

    def test_a_wrong_flag_is_named_as_it_is_written(self):
        error = refusal(flags={"log_level": "loud"})
        assert error.message.startswith("flag: --log-level = 'loud': expected one of")

    def test_tcp_is_taken_here_and_looked_at_by_the_daemon(self):
        assert load(env={}, flags={"bind": ("tcp://[::1]:1",)}).bind == ("tcp://[::1]:1",)

    @pytest.mark.parametrize(
        "endpoint", ["inproc://x", "ipc://", "ipc://relative", "ipc://@abstract", "/a/b", "ipc:///"]
    )
    def test_other_endpoints(self, endpoint):
        assert "expected ipc:///run/agentd/sock" in refusal(flags={"bind": (endpoint,)}).message

    def test_a_file_that_is_not_there(self, tmp_path):
        assert "cannot be read: No such file" in refusal(tmp_path / "none.toml").message

    def test_a_file_that_is_not_toml(self, toml):
        assert "not a TOML file" in refusal(toml("workers: 3")).message

    def test_a_file_that_is_not_text(self, tmp_path):
        file = tmp_path / "agentd.toml"
        file.write_bytes(b"\xff\xfe")
        assert "not a TOML file" in refusal(file).message

    def test_a_lease_shorter_than_a_heartbeat(self):
        assert "must be longer than heartbeat_s" in refusal(flags={"client_grace_s": 0.5}).message

    def test_a_backoff_that_starts_above_its_end(self):
        assert "must be at least" in refusal(flags={"worker_backoff_max_s": 0.01}).message


class TestServerConfig:
    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            ServerConfig().workers = 3  # type: ignore[misc]

    def test_one_built_by_hand_is_checked_too(self):
        with pytest.raises(ConfigError, match="ServerConfig: workers = -1: expected"):
            ServerConfig(workers=-1)

    def test_every_field_is_told_with_its_reason(self):
        told = describe()
        assert [s.key for s in told] == [f.name for f in dataclasses.fields(ServerConfig)]
        assert all(s.why.endswith(".") and s.variable == f"AGENTD_{s.key.upper()}" for s in told)


@pytest.mark.parametrize(
    "text", ['specs = { a = "m:C", b-2 = "p.q:C.D" }', '[specs]\na = "m:C"\n"b-2" = "p.q:C.D"']
)
def test_registered_agents(tmp_path, text):
    file = tmp_path / "agentd.toml"
    file.write_text(f"safe = true\n{text}\n")
    config = load(file, env={})
    assert (config.safe, config.specs) == (True, {"a": "m:C", "b-2": "p.q:C.D"})
    assert load(env={"AGENTD_SPECS": "a=m:C, b-2=p.q:C.D"}).specs == config.specs


@pytest.mark.parametrize(
    "spec", ["a", "a=", "=m:C", "a=m", "a=m:", "a=m:C()", "a=m.:C", "a=m:C;x", "a.b=m:C"]
)
def test_what_registers_no_class(spec):
    with pytest.raises(ConfigError, match=r":.*Co?"):
        load(env={"AGENTD_SPECS": spec})


@pytest.mark.parametrize(
    ("text", "found"), [("1", True), ("TRUE", True), ("no", False), ("0", False)]
)
def test_true_and_false_in_the_environment(text, found):
    assert load(env={"AGENTD_SAFE": text}).safe is found


def test_neither_true_nor_false():
    with pytest.raises(ConfigError, match="true or false"):
        load(env={"AGENTD_SAFE": "perhaps"})
    with pytest.raises(ConfigError, match="true or false"):
        ServerConfig(safe=1)


@pytest.mark.parametrize(
    ("text", "found"), [("", None), ("5600-5699", (5600, 5699)), ("1-65535", (1, 65_535))]
)
def test_ranges_of_ports(text, found):
    assert ports_of(load(env={"AGENTD_WORKER_PORTS": text}).worker_ports) == found


@pytest.mark.parametrize(
    "text",
    [
        "5600",
        "5699-5600",
        "0-10",
        "65000-65536",
        "a-b",
        "5600 - 5699",
        "-1-5",
        "5600-",
        "5600-5699x",
    ],
)
def test_what_is_no_range_of_ports(text):
    with pytest.raises(ConfigError, match=r"--worker-ports.*5600-5699"):
        load(flags={"worker_ports": text})


@given(st.integers(-5, 70_000), st.integers(-5, 70_000))
def test_a_range_is_what_was_written_or_an_error(low, high):
    try:
        found = ports_of(load(env={}, flags={"worker_ports": f"{low}-{high}"}).worker_ports)
    except ConfigError:
        assert not 1 <= low <= high <= 65_535
    else:
        assert found == (low, high)
