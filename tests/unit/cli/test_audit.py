"""``agentctl audit`` reads files, and no daemon."""

import json

import pytest

from agentd.auditlog import START, line_of


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "audit.jsonl"
    head = START
    with file.open("wb") as out:
        for action in ("create", "kill", "stop"):
            line, head = line_of(head, {"who": "uid:1", "action": action, "target": "\x1b[2Jx"})
            out.write(line)
    file.with_name("audit.jsonl.head").write_bytes(head.encode())
    return file


def test_an_intact_one(ctl, log, fake):
    done = ctl("audit", "verify", str(log))
    assert done.exit_code == 0
    assert done.stdout.startswith("intact up to line 3")
    assert fake.calls == []


def test_a_changed_one(ctl, log):
    log.write_bytes(log.read_bytes().replace(b'"kill"', b'"call"'))
    done = ctl("audit", "verify", str(log), "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert not found["intact"]
    assert found["problems"][0]["line"] == 3


def test_one_without_its_end(ctl, log):
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    done = ctl("audit", "verify", str(log))
    assert done.exit_code == 1
    assert "1 lines are missing at its end" in done.stdout


def test_show(ctl, log):
    done = ctl("audit", "show", str(log))
    assert "\\x1b[2Jx" in done.stdout
    assert "\x1b" not in done.stdout
    assert [r["action"] for r in json.loads(ctl("audit", "show", str(log), "--json").stdout)] == [
        "create",
        "kill",
        "stop",
    ]


def test_no_such_file(ctl, tmp_path):
    assert ctl("audit", "verify", str(tmp_path / "none")).exit_code == 2
