"""Runs agentctl in this process against the fake."""

import time

import pytest
from click.testing import CliRunner

from agentd_cli.ctl import main
from agentd_cli.ctl.context import Ctl
from tests.unit.cli.fakes import FakeAgentd


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Times are shown in local time; tests live in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def fake():
    return FakeAgentd()


@pytest.fixture
def ctl(fake):
    """``ctl("agents", "--json")`` gives click's result: exit_code, stdout, stderr."""

    def run(*args):
        return CliRunner().invoke(
            main, args, obj=Ctl(injected=fake), prog_name="agentctl", catch_exceptions=False
        )

    return run
