"""Grants: what a file says it gives, and what no file may ever give by mistake."""

import os
import shutil
from pathlib import Path

import pytest

from agentd import keys
from agentd.errors import ConfigError
from agentd.keys import Grant, GrantBook, Role, grants

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
TEXT = keys.encode_key(KEY)
WHO = keys.who_of(KEY)
GOOD = f'key = "{TEXT}"\nroles = ["caller"]\nagents = ["a-*"]\nmethods = ["*"]\n'
GRANT = Grant(WHO, "me", frozenset({Role.CALLER}), ("a-*",), ("*",))
OWN = f"uid:{os.geteuid()}"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "config"
    (folder / "authorized.d").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    return str(folder)


def put(folder, text, name="me.toml", mode=0o600):
    path = Path(folder, "authorized.d", name)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_is_written_is_what_is_read(folder):
    for grant, key in (
        (GRANT, KEY),
        (Grant("uid:1001", "u", frozenset({Role.ADMIN, Role.OBSERVER}), (), (), 2e9), None),
        (Grant(keys.who_of(OTHER), "o", frozenset({Role.OPERATOR}), ('"\\',), ("é\n",)), OTHER),
    ):
        keys.write_grant(folder, grant, key)
        reading = keys.read_grants(folder)
        assert reading.grants[grant.who] == grant
        assert reading.alarms == ()
        assert key is None or reading.keys[key] == grant.who


BAD = {
    "no toml": "roles = [",
    "not text": "\udcff",
    "misspelt": GOOD + "expire = 2027-01-01T00:00:00Z\n",
    "no key": GOOD.split("\n", 1)[1],
    "key and uid": GOOD + "uid = 5\n",
    "a wrong key": GOOD.replace(TEXT, TEXT[1:]),
    "a number as key": GOOD.replace(f'"{TEXT}"', "5"),
    "no roles": GOOD.replace('roles = ["caller"]\n', ""),
    "an unknown role": GOOD.replace("caller", "root"),
    "roles as text": GOOD.replace('["caller"]', '"caller"'),
    "no agents": GOOD.replace('agents = ["a-*"]\n', ""),
    "an empty pattern": GOOD.replace("a-*", ""),
    "no methods": GOOD.replace('methods = ["*"]\n', ""),
    "a date without a zone": GOOD + "expires = 2027-01-01T00:00:00\n",
    "a date as text": GOOD + 'expires = "2027-01-01T00:00:00Z"\n',
    "a day": GOOD + "expires = 2027-01-01\n",
    "a negative user": 'uid = -1\nroles = ["caller"]\nagents = []\nmethods = []\n',
    "a user by name": 'uid = "root"\nroles = ["caller"]\nagents = []\nmethods = []\n',
    "true as user": 'uid = true\nroles = ["caller"]\nagents = []\nmethods = []\n',
    "too long": GOOD + "#" * 70_000,
}


@pytest.mark.parametrize("what", BAD)
def test_a_malformed_file_grants_nothing_and_is_told(folder, what):
    put(folder, "")
    path = Path(folder, "authorized.d", "me.toml")
    path.write_bytes(BAD[what].encode("utf-8", "surrogateescape"))
    keys.write_grant(folder, Grant(keys.who_of(OTHER), "other", GRANT.roles, (), ()), OTHER)
    reading = keys.read_grants(folder)
    assert list(reading.grants) == [keys.who_of(OTHER)]  # the others stay
    assert list(reading.keys) == [OTHER]
    [alarm] = reading.alarms
    assert str(path) in alarm
    assert "grants nothing" in alarm


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_grants_nothing(folder, mode):
    put(folder, GOOD, mode=mode)
    reading = keys.read_grants(folder)
    assert (reading.grants, reading.keys) == ({}, {})
    assert "written by others" in reading.alarms[0]


def test_a_link_grants_nothing(folder):
    put(folder, GOOD, "real")
    Path(folder, "authorized.d", "me.toml").symlink_to("real")
    assert keys.read_grants(folder).grants == {}


def test_a_file_for_which_there_is_no_name_grants_nothing(folder):
    put(folder, GOOD, "a b.toml")
    assert keys.read_grants(folder).grants == {}


def test_a_peer_with_two_files_has_no_grant(folder):
    put(folder, GOOD)
    put(folder, GOOD.replace("caller", "admin"), "other.toml")
    reading = keys.read_grants(folder)
    assert (reading.grants, reading.keys) == ({}, {})
    assert "neither counts" in reading.alarms[0]


def test_other_files_are_left_alone(folder):
    put(folder, "x", "me.toml~")
    put(folder, "x", ".me.toml.swp")
    put(folder, GOOD)
    reading = keys.read_grants(folder)
    assert (len(reading.grants), reading.alarms) == (1, ())


UNREADABLE = {
    "a file": lambda place: (shutil.rmtree(place), Path(place).write_text("")),
    "a loop": lambda place: (shutil.rmtree(place), Path(place).symlink_to(place)),
    "open to others": lambda place: Path(place).chmod(0o777),
    "below what is open to others": lambda place: Path(place).parent.chmod(0o777),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_folder_that_cannot_be_read_lets_in_nobody_but_our_own_user(folder, what):
    put(folder, GOOD)
    book = GrantBook(folder)
    assert book.grant_of(WHO) == GRANT
    UNREADABLE[what](keys.authorized_folder(folder))
    assert book.refresh() == {WHO}
    assert book.grant_of(WHO) is None
    assert book.who_has(KEY) is None
    assert "nobody is let in" in book.alarms[0]
    assert Role.ADMIN in book.grant_of(OWN).roles


def test_no_folder_is_nobody_and_no_alarm(tmp_path):
    book = GrantBook(str(tmp_path / "none"))
    assert (book.keys, book.alarms, book.grant_of("")) == (0, (), None)


def test_a_grant_for_our_own_user_takes_nothing_away(folder):
    keys.write_grant(folder, Grant(OWN, "me", frozenset({Role.OBSERVER}), (), ()), None)
    assert Role.ADMIN in GrantBook(folder).grant_of(OWN).roles


def test_grants_come_go_and_end_without_a_restart(folder):
    now = [1_000.0]
    book = GrantBook(folder, lambda: now[0])
    assert book.refresh() == frozenset()
    keys.write_grant(folder, GRANT, KEY)
    assert (book.refresh(), book.grant_of(WHO), book.who_has(KEY)) == (frozenset(), GRANT, WHO)
    keys.remove_grant(folder, "me")
    assert (book.refresh(), book.grant_of(WHO), book.who_has(KEY)) == ({WHO}, None, None)
    keys.write_grant(folder, Grant(WHO, "me", GRANT.roles, (), (), 1_010.0), KEY)
    assert book.refresh() == frozenset()
    assert book.keys == 1
    now[0] = 1_010.0
    assert (book.grant_of(WHO), book.who_has(KEY), book.keys) == (None, None, 0)  # at once
    assert book.refresh() == {WHO}
    assert book.refresh() == frozenset()


def test_what_is_read_is_in_force_when_it_is_taken(folder):
    book = GrantBook(folder)
    keys.write_grant(folder, GRANT, KEY)
    found = book.look()
    assert book.grant_of(WHO) is None
    assert book.look() is None, "it did not change since"
    book.take(found)
    assert book.grant_of(WHO) == GRANT
    assert book.take(None) == frozenset()
    assert book.grant_of(WHO) == GRANT
    assert book.look(always=True) == found


def test_more_files_than_are_read_let_in_nobody(folder, monkeypatch):
    keys.write_grant(folder, GRANT, KEY)
    book = GrantBook(folder)
    monkeypatch.setattr(grants, "MOST_FILES", 3)
    for number in range(3):
        Path(keys.authorized_folder(folder), f"n{number}").touch()
    assert book.refresh() == {WHO}
    [alarm] = book.alarms
    assert "4 files; 3 are read at most: nobody is let in" in alarm


def test_a_file_that_gets_worse_takes_its_grant_away(folder):
    path = put(folder, GOOD)
    book = GrantBook(folder)
    path.write_text(GOOD + "oops")
    assert book.refresh() == {WHO}
    assert book.who_has(KEY) is None
    path.write_text(GOOD)
    book.refresh()
    assert book.grant_of(WHO) == GRANT


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 64, "a b", "a\n"])
def test_a_name_is_one_of_a_file(folder, name):
    with pytest.raises(ConfigError, match="not a name"):
        keys.write_grant(folder, Grant(WHO, name, GRANT.roles, (), ()), KEY)


def test_a_second_grant_for_a_peer_is_refused_and_so_is_one_without_a_role(folder):
    keys.write_grant(folder, GRANT, KEY)
    with pytest.raises(ConfigError, match="agentctl keys revoke me"):
        keys.write_grant(folder, Grant(WHO, "again", GRANT.roles, (), ()), KEY)
    with pytest.raises(ConfigError, match="--role"):
        keys.write_grant(folder, Grant("uid:7", "none", frozenset(), (), ()), None)
    with pytest.raises(ConfigError, match="no grant 'nobody'"):
        keys.remove_grant(folder, "nobody")
