"""Keys as text and as files: written for us alone, refused if anybody else had a hand in."""

import os
import stat
from pathlib import Path

import pytest
from zmq.utils import z85

from agentd import keys
from agentd.errors import ConfigError
from agentd.keys import doctor
from agentd.keys.files import read_bytes, write_new
from agentd.transport.users import User


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "config")


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, bytes(range(32))])
def test_text_is_that_of_zeromq(key):
    assert keys.encode_key(key) == z85.encode(key).decode()
    assert keys.decode_key(keys.encode_key(key)) == key


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, '"' + "0" * 39, "#" * 40, "é" * 40])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ConfigError, match="not a key"):
        keys.decode_key(text)


def test_a_pair_is_made_once_and_its_secret_is_for_nobody_else(folder):
    old = os.umask(0)
    try:
        pair = keys.make_pair(folder, "server", "home")
    finally:
        os.umask(old)
    secret = keys.pair_path(folder, "server", "secret")
    assert stat.S_IMODE(Path(secret).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert keys.load_pair(folder, "server") == pair
    assert keys.public_from(keys.pair_path(folder, "server", "pub"), "server") == (
        pair.public,
        "home",
    )
    with pytest.raises(ConfigError, match="exists already"):
        keys.make_pair(folder, "server", "home")
    assert keys.load_pair(folder, "server") == pair
    assert pair.secret.hex() not in repr(pair)
    assert sorted(p.name for p in Path(folder).iterdir()) == ["server.pub", "server.secret"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o606])
def test_a_secret_that_others_can_read_is_refused(folder, mode):
    keys.make_pair(folder, "client", "me")
    path = keys.pair_path(folder, "client", "secret")
    Path(path).chmod(mode)
    with pytest.raises(ConfigError, match="others"):
        keys.load_pair(folder, "client")


def test_a_secret_is_no_link(folder):
    keys.make_pair(folder, "client", "me")
    path = keys.pair_path(folder, "client", "secret")
    Path(path).rename(path + ".real")
    Path(path).symlink_to(path + ".real")
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.load_pair(folder, "client")


@pytest.mark.parametrize("content", ["", "secret = 5", "not toml", 'secret = "short"'])
def test_a_broken_secret_is_told_without_its_text(folder, content):
    keys.make_pair(folder, "client", "me")
    path = keys.pair_path(folder, "client", "secret")
    Path(path).unlink()
    write_new(path, content)
    with pytest.raises(ConfigError) as told:
        keys.load_pair(folder, "client")
    assert not content or content not in str(told.value)


def test_no_key_tells_how_to_make_one(folder):
    with pytest.raises(ConfigError, match="agentctl keygen client"):
        keys.load_pair(folder, "client")


def test_the_wrong_half_and_the_wrong_kind_are_refused(folder):
    keys.make_pair(folder, "server", "home")
    with pytest.raises(ConfigError, match="is the secret"):
        keys.public_from(keys.pair_path(folder, "server", "secret"), "server")
    with pytest.raises(ConfigError, match="key of a server"):
        keys.public_from(keys.pair_path(folder, "server", "pub"), "client")
    with pytest.raises(ConfigError, match="neither a file nor a key"):
        keys.public_from(folder + "/none.pub", "client")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = str(tmp_path / "file")
    write_new(path, "one")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(path, "two")
    assert read_bytes(path) == b"one"
    write_new(path, "two", replace=True)
    assert read_bytes(path) == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_pipe_is_no_file(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="plain file"):
        read_bytes(path)


# -- pins ------------------------------------------------------------------------------------------
KEY = bytes(range(32))


@pytest.mark.parametrize("endpoint", ["tcp://there:5577", "tcp://[::1]:1", "tcp://10.0.0.1:65535"])
def test_a_pin_is_found_by_its_endpoint_alone(folder, endpoint):
    pin = keys.write_pin(folder, endpoint, KEY, code=False)
    assert keys.pin_for(folder, endpoint) == pin == keys.Pin(endpoint, KEY, code=False)
    for other in ("tcp://there:5578", "tcp://elsewhere:5577"):
        with pytest.raises(ConfigError, match=f"agentctl trust add {other}"):
            keys.pin_for(folder, other)
    keys.write_pin(folder, endpoint, bytes(32), code=True)
    assert keys.known_servers(folder) == ([keys.Pin(endpoint, bytes(32), code=True)], [])
    keys.remove_pin(folder, endpoint)
    with pytest.raises(ConfigError, match="not trusted"):
        keys.pin_for(folder, endpoint)
    with pytest.raises(ConfigError, match="was not trusted"):
        keys.remove_pin(folder, endpoint)


def test_a_pin_that_others_can_write_is_no_pin(folder):
    keys.write_pin(folder, "tcp://there:1", KEY, code=True)
    path = Path(folder, "known_servers.d", "there_1.toml")
    path.chmod(0o622)
    with pytest.raises(ConfigError, match="written by others"):
        keys.pin_for(folder, "tcp://there:1")
    assert keys.known_servers(folder)[0] == []


# -- doctor ----------------------------------------------------------------------------------------
def _levels(found, *, about):
    return [f.level for f in found if about in f.what]


def test_the_doctor_tells_whom_agents_run_as(folder, monkeypatch):
    user = User("lodger", 4711, 4711, (0, 4711), "/home/lodger", "/bin/sh")
    monkeypatch.setattr(doctor, "other_user", lambda _text: user)
    grant = keys.Grant("uid:4711", "lodgers", frozenset({keys.Role.CALLER}), ("*",), ("*",))
    keys.write_grant(folder, grant, None)

    found = keys.examine(folder, worker_user="lodger")

    assert _levels(found, about="agents run as lodger (uid 4711)") == ["ok"]
    assert _levels(found, about="in the group of root") == ["warning"]
    assert _levels(found, about="grant lodgers lets agents use the daemon: caller") == ["ok"]


@pytest.mark.parametrize(("uid", "level"), [(0, "warning"), (1000, "ok")])
def test_the_doctor_warns_of_agents_that_are_root(folder, monkeypatch, uid, level):
    monkeypatch.setattr(doctor.os, "geteuid", lambda: uid)
    assert _levels(keys.examine(folder), about="agents run as") == [level]


def test_the_doctor_tells_of_a_user_that_will_not_do(folder):
    found = keys.examine(folder, worker_user="no-such-user")
    assert _levels(found, about="there is no such user here") == ["problem"]


def test_the_doctor_tells_what_is_wrong_and_what_is_a_shell(folder):
    keys.make_pair(folder, "server", "home")
    grant = keys.Grant(keys.who_of(KEY), "me", frozenset({keys.Role.DEPLOYER}), ("*",), ("*",))
    keys.write_grant(folder, grant, KEY)
    keys.write_pin(folder, "tcp://there:1", KEY, code=True)
    found = keys.examine(folder)
    assert not [f for f in found if f.level == "problem"]
    warnings = " ".join(f.what for f in found if f.level == "warning")
    assert "equals a shell" in warnings
    assert "tcp://there:1 may run code here" in warnings
    Path(keys.pair_path(folder, "server", "secret")).chmod(0o644)
    Path(keys.authorized_folder(folder)).chmod(0o777)
    problems = " ".join(f.what for f in keys.examine(folder) if f.level == "problem")
    assert "others can read" in problems
    assert "nobody is let in" in problems
