"""Every limit and counter is shown, and told of in docs/limits.md."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentd.config import ServerConfig, load
from agentd.errors import Overloaded
from agentd.protocol.budgets import Budgets, Room
from agentd.protocol.delivery import Delivery
from agentd.server.standing import LIMITS, standing
from agentd.transport.connections import Connections, most_connections
from agentd.transport.counted import Counted
from agentd.transport.listeners import SPARE
from agentd.transport.local import listen
from agentd.transport.localfront import LocalFront
from agentd.transport.portions import Portions

DOCS = (Path(__file__).parents[3] / "docs/limits.md").read_text()


def restraint(**counted):
    return SimpleNamespace(counted=lambda: Counted(**counted))


@pytest.fixture
def stands():
    room = Room(1, 10)
    router = SimpleNamespace(
        budgets=Budgets(room, room, room, lambda: 0.0),
        answers=SimpleNamespace(delivery=Delivery(10), disconnected_unread=3, undelivered=4),
        screening=SimpleNamespace(counted=lambda: Counted(malformed=1)),
        too_large=2,
    )
    connections = Connections(7, lambda: 0.0)
    return router, standing(
        ServerConfig(),
        router,
        [],
        connections,
        SimpleNamespace(disconnected=5),
        restraint(disconnected_backlog=8, held_up=9),
        Portions(0.5, lambda: 0.0),
        Counted(malformed=10, disconnected_unfinished=6, disconnected_unread=7),
    )


def test_each_limit_and_counter_is_in_the_documentation(stands):
    _router, shown = stands
    for name in (*LIMITS, *(set(shown["counters"]) - {"undelivered"})):
        assert f"`{name}`" in DOCS, name


def test_what_is_in_the_documentation_is_shown(stands):
    _router, shown = stands
    table = DOCS[DOCS.index("|---|") : DOCS.index("`Overloaded` names")]
    names = set(re.findall(r"`([a-z_]+)`", table))
    assert names <= set(LIMITS) | set(shown["counters"])


def test_limits_are_those_that_hold(stands):
    _router, shown = stands
    assert shown["limits"]["max_connections"] == 7
    assert shown["limits"]["max_message_bytes"] == ServerConfig().max_message_bytes


def test_what_workers_count_counts_with_the_rest(stands):
    _router, shown = stands
    assert shown["counters"]["malformed"] == 1 + 10
    assert shown["counters"]["disconnected_unfinished"] == 6
    assert shown["counters"]["disconnected_unread"] == 3 + 7
    assert shown["counters"]["disconnected_backlog"] == 8
    assert shown["counters"]["held_up"] == 9


def test_what_a_socket_without_zeromq_counts_counts_too(stands, tmp_path):
    router, _shown = stands
    front = LocalFront(
        listen(str(tmp_path / "s")), uids=lambda _uid: False, most=10, most_queued=10
    )
    front.refused, front.cut_off = 2, 5
    try:
        shown = standing(
            ServerConfig(),
            router,
            [front],
            Connections(7, lambda: 0.0),
            SimpleNamespace(disconnected=0),
            restraint(),
            Portions(0.5, lambda: 0.0),
            Counted(connections_refused=1),
        )
    finally:
        front.close()
    assert shown["counters"]["connections_refused"] == 2 + 1
    assert shown["counters"]["disconnected_unread"] == 3 + 5


def test_refusals_are_counted_by_setting(stands):
    router, shown = stands
    assert shown["counters"]["refused_client_calls"] == 0
    router.budgets.take(1, "c", None, 1)
    with pytest.raises(Overloaded):
        router.budgets.take(2, "c", None, 1)
    connections = Connections(7, lambda: 0.0)
    again = standing(
        ServerConfig(),
        router,
        [],
        connections,
        SimpleNamespace(disconnected=0),
        restraint(),
        Portions(0.5, lambda: 0.0),
        Counted(),
    )
    assert again["counters"]["refused_client_calls"] == 1
    assert again["counters"]["open_calls"] == 1


def test_the_strict_settings_of_the_documentation_are_settings(tmp_path):
    [block] = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    file = tmp_path / "strict.toml"
    file.write_text(block)
    strict = load(file, env={})
    for line in block.splitlines():
        key = line.split(" = ")[0]
        assert getattr(strict, key) < getattr(ServerConfig(), key)


@pytest.mark.parametrize(
    ("allowed", "workers", "most"),
    [
        (65_536, 0, 4_096),
        (65_536, 100, 4_096),
        (4_000, 0, 3_200),
        (4_000, 100, 3_200),
        (4_000, 200, 2_600),
        (1_024, 0, 819),
        (600, 2, 388),
        (256, 2, 51),
        (3, 0, 1),
        (-1, 100, 4_096),
    ],
)
def test_connections_leave_room(monkeypatch, allowed, workers, most):
    monkeypatch.setattr("resource.getrlimit", lambda _what: (allowed, allowed))
    assert most_connections(4_096, workers) == most
    assert 0 <= allowed < 2 * SPARE or allowed < 0 or most + SPARE <= allowed
