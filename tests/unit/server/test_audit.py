"""The audit log: chained, rate-limited, and honest about what it lost."""

import json
import os
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import keys
from agentd.auditlog import START, Head, Problem, line_of, verify
from agentd.config import ServerConfig
from agentd.errors import AuditFailed, ConfigError
from agentd.server import audit as module
from agentd.server.audit import BURST, KINDS, WINDOW_S, Audit, audit_path
from agentd.server.daemon import Daemon
from agentd.transport.rundir import default_endpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def open_log(path, clock):
    opened = []

    def make(at=path):
        opened.append(Audit(str(at), clock=clock, now=lambda: 1_700_000_000.0))
        return opened[-1]

    yield make
    for one in opened:
        try:
            one.close()
        except OSError:  # closed by the test
            pass


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def problems(*paths, head=True):
    """What is wrong with the files, the oldest first."""
    found, before = [], None
    beside = paths[-1].with_name("audit.jsonl.head")
    for file in paths:
        last = Head.decode(beside.read_bytes()) if head and file == paths[-1] else None
        *wrong, before = verify(file.read_bytes().splitlines(keepends=True), before, last)
        found += wrong
    return found


def test_who_did_what_and_why_it_was_allowed(open_log, path):
    open_log().note(who="uid:1000", action="kill", target="tally", rule="admin", ip="10.0.0.1")
    [record] = records(path)
    assert record == {
        "n": 1,
        "time": "2023-11-14T22:13:20.000Z",
        "who": "uid:1000",
        "ip": "10.0.0.1",
        "action": "kill",
        "target": "tally",
        "decision": "allowed",
        "rule": "admin",
        "prev": START.hash,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_chain_goes_on_after_a_restart_and_over_rotation(open_log, path):
    log = open_log()
    log.note(who="a", action="create")
    log.close()
    log = open_log()
    log.note(who="b", action="delete")
    old = path.rename(path.with_name("audit.1"))
    log.note(who="c", action="stop")
    assert [record["n"] for record in records(old)] == [1, 2]
    assert [record["n"] for record in records(path)] == [3]
    assert problems(old, path) == []
    assert problems(path) == []
    log.close()
    older = path.rename(path.with_name("audit.2"))  # rotated while no daemon runs
    open_log().note(who="d", action="stop")
    assert problems(old, older, path) == []


def test_what_a_terminal_would_obey_is_escaped_and_what_is_long_is_cut(open_log, path):
    open_log().note(who="x", action="create", target="\x1b[2J\u202e\n" + "y" * 10_000)
    assert path.read_text().isascii()
    assert len(path.read_text().splitlines()) == 1
    assert len(records(path)[0]["target"]) < 600


@given(st.data())
def test_whatever_is_changed_is_found(data):
    lines, head = [], START
    for number in range(5):
        line, head = line_of(head, {"who": f"uid:{number}", "action": "kill"})
        lines.append(line)
    assert list(verify(lines, START, head)) == [head]
    how = data.draw(st.sampled_from(["change", "remove", "swap", "insert"]))
    at = data.draw(st.integers(0, 4))
    if how == "change":
        where = data.draw(st.integers(0, len(lines[at]) - 2))
        byte = data.draw(st.integers(33, 126).filter(lambda b: b != lines[at][where]))
        lines[at] = lines[at][:where] + bytes([byte]) + lines[at][where + 1 :]
    elif how == "remove":
        del lines[at]
    elif how == "swap":
        other = data.draw(st.integers(0, 4).filter(lambda n: n != at))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines.insert(at, line_of(START, {"who": "evil"})[0])
    assert any(isinstance(found, Problem) for found in verify(lines, START, head))


def test_a_head_that_lags_is_no_problem_but_an_end_that_is_cut_off_is(open_log, path):
    log = open_log()
    for _ in range(3):
        log.note(who="a", action="kill")
    log.close()
    beside = path.with_name("audit.jsonl.head")
    latest = beside.read_bytes()
    first = path.read_bytes().splitlines()[0]
    beside.write_bytes(Head(1, module.digest(first)).encode())
    assert problems(path) == []
    beside.write_bytes(latest)
    path.write_bytes(first + b"\n")
    assert [found.what for found in problems(path)] == ["2 lines are missing at its end"]
    open_log().note(who="b", action="kill")  # goes on, and says that something happened
    assert [record["decision"] for record in records(path)][1:] == ["broken", "allowed"]
    assert problems(path)


def test_half_a_line_does_not_swallow_the_next_one(open_log, path):
    log = open_log()
    log.note(who="a", action="kill")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"n": 2, "ti')
    open_log().note(who="b", action="kill")
    assert json.loads(path.read_text().splitlines()[-1])["who"] == "b"
    assert any("is no record" in found.what for found in problems(path))


# -- denials ---------------------------------------------------------------------------------------


def test_denials_are_written_up_to_a_rate_then_counted(open_log, path, clock):
    log = open_log()
    for _ in range(BURST + 25):
        log.note(who="key:a", action="call", decision="denied", rule="role")
    log.note(who="key:b", action="call", decision="denied", rule="role")
    assert len(records(path)) == BURST + 1
    clock.now += WINDOW_S
    log.tick()
    assert records(path)[-1]["count"] == 25
    assert records(path)[-1]["who"] == "key:a"
    log.note(who="key:a", action="call", decision="denied", rule="role")
    assert "count" not in records(path)[-1]
    assert problems(path) == []


def test_a_flood_of_names_costs_bounded_memory_and_lines(open_log, path):
    log = open_log()
    for number in range(KINDS * 3):
        log.note(who=f"key:{number}", action="call", decision="denied")
    assert len(records(path)) == KINDS
    log.close()
    assert records(path)[-1]["count"] == KINDS * 2


# -- no room ---------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """While it is set, the disk takes so many bytes of a line and no more."""
    room = []
    write = os.write

    def limited(fd, data):
        if not room:
            return write(fd, data)
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        return write(fd, data[: room[0]])

    monkeypatch.setattr(module.os, "write", limited)
    return room


@pytest.mark.parametrize("room", [0, 10])
def test_on_a_full_disk_administration_is_refused_and_calls_go_on(open_log, path, full, room):
    log = open_log()
    log.note(who="a", action="kill")
    full[:] = [room]
    with pytest.raises(AuditFailed, match="kill was not done") as caught:
        log.note(who="a", action="kill")
    assert caught.value.action == "kill"
    log.note(who="a", action="call")
    log.note(who="a", action="kill", decision="denied")
    assert len(records(path)) == 1
    full.clear()
    log.note(who="a", action="kill")
    assert [record.get("count") for record in records(path)] == [None, 3, None]
    assert problems(path) == []


# -- whose it is -----------------------------------------------------------------------------------


def test_two_daemons_do_not_share_one(open_log):
    open_log()
    with pytest.raises(ConfigError, match="another daemon writes"):
        open_log()


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.jsonl.head"])
def test_one_that_others_can_open_is_refused(open_log, path, name):
    path.parent.mkdir()
    file = path.with_name(name)
    file.touch(0o644)
    with pytest.raises(ConfigError, match="is open to others"):
        open_log()
    file.unlink()
    file.symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_log()


@pytest.mark.parametrize(
    ("setting", "exposed", "expected"),
    [
        ("", False, None),
        ("", True, "/state/agentd/audit.jsonl"),
        ("off", True, None),
        ("/x/y", False, "/x/y"),
        ("/x/y", True, "/x/y"),
    ],
)
def test_where_it_is(setting, exposed, expected, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    config = ServerConfig(audit_file=setting)
    assert audit_path(config, default_endpoint(), exposed=exposed) == expected


def test_two_daemons_of_one_user_have_two_logs(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    def path(endpoint):
        return audit_path(ServerConfig(), endpoint, exposed=True)

    found = [
        path(default_endpoint()), path("ipc:///run/a/second.sock"), path("ipc:///run/b/second.sock"),
        path("ipc:///run/a/se..%nd\n"),
    ]  # fmt: skip
    assert len(set(found)) == 4
    assert found[1] == path("ipc:///run/a/second.sock"), "when it is started again, too"
    for one in found[1:]:
        assert re.fullmatch(r"/state/agentd/audit-[a-z_]+-[0-9a-f]{8}\.jsonl", one)


def test_two_daemons_over_tcp_run_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = str(tmp_path / "config")
    keys.make_pair(config, "server", "s")
    grant = keys.Grant(keys.who_of(bytes(32)), "me", frozenset({keys.Role.CALLER}), ("*",), ("*",))
    keys.write_grant(config, grant, bytes(32))

    def build(name):
        run = tmp_path / name
        run.mkdir(mode=0o700)
        bind = (f"ipc://{run}/s.sock", "tcp://127.0.0.1:0")
        return Daemon(ServerConfig(bind=bind, config_dir=config, run_dir=str(run)))

    one, other = build("one"), build("other")
    assert one._audit.path != other._audit.path
    with pytest.raises(ConfigError, match="another daemon writes to"):
        Audit(one._audit.path)
    for each in (one, other):
        each._audit.close()
