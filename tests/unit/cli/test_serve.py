"""``agentd serve``: options become settings, errors become exit codes."""

import sys
import types

import pytest
from click.testing import CliRunner

from agentd.config import ServerConfig, describe
from agentd.errors import AgentdError, ConfigError, EndpointInUse
from agentd_cli import logs
from agentd_cli.serve import main


class Daemon:
    """Stands in for ``agentd.server.daemon``."""

    def __init__(self):
        self.config = None
        self.outcome = 0

    def serve(self, config):
        self.config = config
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def daemon(monkeypatch):
    fake = Daemon()
    module = types.ModuleType("agentd.server.daemon")
    module.serve = fake.serve
    monkeypatch.setitem(sys.modules, "agentd.server.daemon", module)
    monkeypatch.setattr(logs, "configure", lambda *args: None)
    monkeypatch.setattr("agentd_cli.serve._ignore_signals", lambda: None)
    return fake


def agentd(*args):
    return CliRunner().invoke(main, args, prog_name="agentd", catch_exceptions=False)


def test_no_options_mean_defaults(daemon):
    assert agentd("serve").exit_code == 0
    assert daemon.config == ServerConfig()


def test_every_option(daemon, tmp_path):
    file = tmp_path / "agentd.toml"
    file.write_text("tombstones = 7\nworkers = 9")
    args = f"serve --config {file} --bind ipc:///a/1 --bind ipc:///a/2 --workers 0"
    more = f"--path /x --path {tmp_path} --log-level debug --log-format json"
    assert agentd(*args.split(), *more.split()).exit_code == 0
    assert daemon.config == ServerConfig(
        tombstones=7,
        workers=0,
        bind=("ipc:///a/1", "ipc:///a/2"),
        path=("/x", str(tmp_path)),
        log_level="debug",
        log_format="json",
    )


def test_logging_is_set_up_before_the_daemon_runs(daemon, monkeypatch):
    seen = []
    monkeypatch.setattr(logs, "configure", lambda *args: seen.append((args, daemon.config)))
    agentd("serve", "--log-level", "debug")
    assert seen == [(("debug", "text"), None)]


def test_its_exit_code_is_the_daemons(daemon):
    daemon.outcome = 1
    assert agentd("serve").exit_code == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("x"), 78), (EndpointInUse("x"), 75), (AgentdError("x"), 1)],
)
def test_errors_are_a_sentence_and_an_exit_code(daemon, error, code):
    daemon.outcome = error
    done = agentd("serve")
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"{error.code}: x\n")


@pytest.mark.parametrize(
    "args",
    [
        ("--bind", "udp://0.0.0.0:5577"),
        ("--workers", "-1"),
        ("--log-level", "loud"),
        ("--config", "/no/such/file.toml"),
    ],
)
def test_wrong_settings_are_told_before_anything_starts(daemon, args):
    done = agentd("serve", *args)
    assert (done.exit_code, daemon.config) == (78, None)
    assert done.stderr.startswith("ConfigError: ")
    assert done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_used_is_a_sentence(daemon):
    daemon.outcome = PermissionError(13, "Permission denied", "/run/x.lock")
    done = agentd("serve")
    assert (done.exit_code, done.stderr) == (1, "cannot use /run/x.lock: Permission denied\n")


def test_a_folder_that_is_not_there_is_told(daemon, tmp_path, caplog):
    agentd("serve", "--path", str(tmp_path), "--path", f"{tmp_path}/nowhere")
    [record] = caplog.records
    assert (record.action, record.path) == ("path_missing", f"{tmp_path}/nowhere")


def test_an_unknown_option_is_wrong_usage(daemon):
    assert agentd("serve", "--wrokers", "3").exit_code == 2


def test_help_tells_all_settings_and_exit_codes(daemon):
    text = agentd("serve", "--help").stdout
    assert all(setting.variable in text for setting in describe())
    assert "75  another daemon owns the endpoint" in text
