"""Whose sockets are this user's own, and what is read from others."""

import pickle

import pytest

from agentd.client import trust
from agentd.client.trust import Reader, is_own
from agentd.errors import CodecNotAllowed


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def test_a_private_folder_is_own(folder):
    assert is_own(f"{folder}/agentd.sock")
    (folder / "agentd.sock").touch()
    assert is_own(f"{folder}/agentd.sock")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720])
def test_one_that_others_write_to_is_not(folder, mode):
    folder.chmod(mode)
    assert not is_own(f"{folder}/agentd.sock")
    folder.chmod(0o700)


def test_nor_is_one_below_such_a_folder(folder):
    (folder / "open" / "closed").mkdir(parents=True, mode=0o700)
    (folder / "open").chmod(0o777)
    assert not is_own(f"{folder}/open/closed/agentd.sock")
    (folder / "open").chmod(0o1777)  # as /tmp is: what lies in it cannot be replaced
    assert is_own(f"{folder}/open/closed/agentd.sock")


def test_nor_is_what_a_link_makes_of_it(folder):
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "link").symlink_to(folder / "open")
    assert not is_own(f"{folder}/link/agentd.sock")


def test_nor_is_what_is_not_there(folder):
    assert not is_own(f"{folder}/none/agentd.sock")


def test_nor_is_somebody_elses(folder, monkeypatch):
    monkeypatch.setattr(trust.os, "geteuid", lambda: 4_000_000)
    if folder.stat().st_uid != 0:
        assert not is_own(f"{folder}/agentd.sock")


@pytest.mark.parametrize("what", ["", "/agentd.sock"], ids=["folder", "socket"])
def test_nor_where_one_of_the_two_is_somebody_elses(monkeypatch, folder, what):
    """Of root's the socket: it may be trusted, but its daemon is not one's own."""
    real = trust.os.lstat
    (folder / "agentd.sock").touch()

    def lstat(path):
        found = list(real(path))
        if str(path) == f"{folder}{what}":
            found[4] = 4_000_000
        return trust.os.stat_result(found)

    monkeypatch.setattr(trust.os, "lstat", lstat)
    assert not is_own(f"{folder}/agentd.sock")


@pytest.mark.parametrize(
    ("endpoint", "way"),
    [
        ("tcp://far:5577", r"agentctl trust add --code tcp://far:5577"),
        ("ipc:///x/y", "private folder"),
    ],
)
def test_pickles_of_others_are_not_read(endpoint, way):
    reader = Reader(endpoint, trusted=False)
    with pytest.raises(CodecNotAllowed, match=way):
        reader.decode("pickle", pickle.dumps(1), [], None)
    error = reader.decode_error({"type_name": "T"}, "pickle", [pickle.dumps(ValueError())], None)
    assert any(endpoint in note or way in note for note in error.__notes__)
    assert reader.decode("data", b"\x01", [], None) == 1
    reader.trusted = True
    assert reader.decode("pickle", pickle.dumps(1), [], None) == 1
