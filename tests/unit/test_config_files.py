"""The examples in configs/ are true: each loads, and agentd.toml shows every setting."""

import configparser
import dataclasses
import shlex
import tomllib
from pathlib import Path

import pytest

from agentd.config import ServerConfig, describe, load
from agentd_cli import exits
from agentd_cli.serve import serve

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_each_example_loads(file):
    load(file, env={})


def test_the_full_example_has_every_setting_at_its_default():
    table = tomllib.loads((CONFIGS / "agentd.toml").read_text())
    assert list(table) == [f.name for f in dataclasses.fields(ServerConfig)]
    assert load(CONFIGS / "agentd.toml", env={}) == ServerConfig()


@pytest.mark.parametrize("setting", describe(), ids=lambda s: s.key)
def test_the_full_example_gives_the_reason_of_each(setting):
    blocks = (CONFIGS / "agentd.toml").read_text().split("\n\n")
    [block] = [b for b in blocks if f"\n{setting.key} = " in b]
    comment = " ".join(line.removeprefix("# ") for line in block.splitlines()[:-1])
    assert comment == setting.why


class TestSystemdUnit:
    @pytest.fixture
    def service(self):
        unit = configparser.ConfigParser(strict=True, interpolation=None)
        unit.optionxform = str  # systemd's keys have capitals
        unit.read(CONFIGS / "agentd.service")
        return unit["Service"]

    def test_it_starts_with_options_that_there_are(self, service):
        program, verb, *options = shlex.split(service["ExecStart"])
        assert (Path(program).name, verb) == ("agentd", "serve")
        serve.make_context("serve", options)

    def test_its_environment_is_known(self, service):
        variable, _, value = service["Environment"].partition("=")
        assert load(env={variable: value}).run_dir == f"/run/{service['RuntimeDirectory']}"

    def test_systemd_waits_longer_than_agentd(self, service):
        assert int(service["TimeoutStopSec"]) > ServerConfig().shutdown_grace_s

    def test_a_wrong_setting_is_not_tried_again(self, service):
        [row] = [row for row in exits.SERVE if "ConfigError" in row.errors]
        assert int(service["RestartPreventExitStatus"]) == row.code
