"""What workers get of the daemon's surroundings: decided without any of them."""

import pytest

from agentd.client.options import LEAST_LIMITS
from agentd.config import ServerConfig
from agentd.server import confine
from agentd.server.launcher import Exit
from agentd.transport.users import User
from tests.unit.server.fakes import World

SURROUNDINGS = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "PYTHONPATH": "/x",
    "XDG_RUNTIME_DIR": "/run",
    "OPENAI_API_KEY": "canary",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "AWS_REGION": "eu",
    "LD_PRELOAD": "evil.so",
}


class Like:
    """Settings with ``safe``, wherever they have it from."""

    def __init__(self, *, safe, **settings):
        self._config = ServerConfig(**settings)
        self.safe = safe

    def __getattr__(self, name):
        return getattr(self._config, name)


def test_outside_of_safe_mode_a_worker_has_the_daemons_environment():
    assert confine.worker_environment(Like(safe=False), SURROUNDINGS) is None
    assert confine.secret_values(Like(safe=False), SURROUNDINGS) == {}


def test_in_safe_mode_it_has_what_is_on_the_list():
    config = Like(safe=True, worker_env=("AWS_R*",))
    found = confine.worker_environment(config, SURROUNDINGS)
    assert set(found) == {"PATH", "LC_ALL", "PYTHONPATH", "XDG_RUNTIME_DIR", "AWS_REGION"}


def test_with_a_user_of_its_own_it_has_that_users_folders():
    user = User("lodger", 4711, 4711, (4711,), "/home/lodger", "/bin/sh")
    config = Like(safe=False, worker_user="lodger", worker_env=("XDG_DATA_*",))
    found = confine.worker_environment(
        config,
        {**SURROUNDINGS, "HOME": "/root", "TMPDIR": "/root/tmp", "XDG_DATA_DIRS": "/x"},
        user,
    )
    assert found == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "XDG_DATA_DIRS": "/x",
        "HOME": "/home/lodger",
        "USER": "lodger",
        "LOGNAME": "lodger",
        "SHELL": "/bin/sh",
    }


def test_with_a_user_of_its_own_it_is_told_secrets_too():
    config = Like(safe=False, worker_user="lodger", secrets={"a": "env:OPENAI_API_KEY"})
    assert confine.secret_values(config, SURROUNDINGS) == {"a": "canary"}


def test_what_workers_read_themselves():
    secrets = {"a": "file:/run/a", "b": "env:B"}
    assert confine.to_be_read(ServerConfig(path=("/code",), secrets=secrets)) == ["/code", "/run/a"]


def test_in_safe_mode_it_is_told_the_secrets_that_it_cannot_look_up():
    table = {"a": "env:OPENAI_API_KEY", "b": "env:AWS_REGION", "c": "file:/x", "d": "env:NOT_SET"}
    config = Like(safe=True, secrets=table, worker_env=("AWS_REGION",))
    assert confine.secret_values(config, SURROUNDINGS) == {"a": "canary"}


@pytest.mark.parametrize(
    ("settings", "asked", "limits"),
    [
        ({}, {}, {}),
        ({}, {"cpu_s": 5}, {"cpu_s": 5}),
        ({"worker_files": 100}, {}, {"files": 100}),
        ({"worker_files": 100}, {"files": 200}, {"files": 100}),
        ({"worker_files": 100}, {"files": 80}, {"files": 80}),
        ({"worker_memory_bytes": 1 << 30}, {"cpu_s": 1}, {"memory_bytes": 1 << 30, "cpu_s": 1}),
    ],
)
def test_an_agent_gets_no_more_than_the_settings_allow(settings, asked, limits):
    assert confine.worker_limits(ServerConfig(**settings), asked) == limits


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ({}, True),
        ({"cpu_s": 1, "files": 64, "memory_bytes": 1 << 28}, True),
        ({"cpu_s": 0}, False),
        ({"cpu_s": 1.5}, False),
        ({"cpu_s": True}, False),
        ({"files": 1 << 70}, False),
        ({"other": 1}, False),
        ([], False),
    ],
)
def test_what_an_agent_may_ask_for(value, right):
    assert confine.are_limits(value) is right


def test_client_and_daemon_know_the_same_limits():
    assert LEAST_LIMITS == confine.LEAST


@pytest.fixture
def world(tmp_path):
    one = World(tmp_path)
    yield one
    one.close()


def test_an_agent_with_limits_has_a_worker_of_its_own_that_is_told_them(world):
    agent = world.create(1, options={"limits": {"cpu_s": 7}})
    worker = world.worker_of(agent)
    assert worker.dedicated
    assert worker.process.settings.limits == {"cpu_s": 7}
    assert world.pool[0].process.settings.limits == {}


def test_who_used_up_its_processor_time_is_told_so(world):
    agent = world.create(1, options={"limits": {"cpu_s": 7}})
    worker = world.worker_of(agent)
    world.enlist(worker)
    world.ready(agent)
    fates = []
    world.hosting.when_fate_known(agent.id, 1, fates.append)
    worker.process.exit = Exit(None, "SIGXCPU")
    world.loop.watched[worker.process.exit_fd]()
    assert "over its limit of 7 s of processor time" in fates[0].message
    assert fates[0].signal == "SIGXCPU"
    again = world.worker_of(agent)
    assert again is not worker
    assert again.limits == {"cpu_s": 7}


def test_settings_do_not_show_the_values(world):
    settings = world.pool[0].process.settings
    settings.secret_values["key"] = "canary"
    assert "canary" not in repr(settings)
