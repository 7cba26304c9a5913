"""Which agentd it is that all these tests run against: the source, or the compiled wheel."""

import importlib

import pytest

from tests.wheel import HOOK

NAMES = [name.lstrip("/").removesuffix(".py").replace("/", ".") for name in HOOK["include"]]


@pytest.fixture
def compiled(request):
    """Whether the tests were told that it is the wheel."""
    return request.config.getoption("--compiled")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_to_be_compiled_is_so_in_the_wheel_and_nowhere_else(name, compiled):
    file = importlib.import_module(name).__file__
    assert file.endswith(".so" if compiled else ".py")


def test_a_daemon_tells_which_it_is(start_daemon, compiled):
    assert start_daemon().client.info()["compiled"] is compiled
