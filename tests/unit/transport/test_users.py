"""Whom workers may run as: decided before anything is started."""

import os
import pwd

import pytest

from agentd.errors import ConfigError
from agentd.transport import users
from agentd.transport.users import other_user

ALL = (1 << 5) | (1 << 6) | (1 << 7)
SOMEBODY = pwd.struct_passwd(("lodger", "x", 4711, 4712, "", "/home/lodger", "/bin/sh"))
ROOT = pwd.struct_passwd(("root", "x", 0, 0, "", "/root", "/bin/sh"))


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """A host with two users; this process runs as root."""
    by_name = {"lodger": SOMEBODY, "root": ROOT, "toor": ROOT}
    monkeypatch.setattr(pwd, "getpwnam", by_name.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", {4711: SOMEBODY, 0: ROOT}.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 99, gid])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(users, "capabilities", lambda: ALL)


@pytest.mark.parametrize("text", ["lodger", "4711"])
def test_by_name_and_by_number(text):
    found = other_user(text)

    assert (found.uid, found.gid, found.groups) == (4711, 4712, (99, 4712))
    assert (found.home, found.shell) == ("/home/lodger", "/bin/sh")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody-here", "useradd --system nobody-here"),
        ("4242", "there is no such user here"),
        ("9" * 30, "there is no such user here"),
        ("-1", "there is no such user here"),
        ("root", "is root"),
        ("toor", "is root"),
        ("0", "is root"),
        ("00", "is root"),
    ],
)
def test_who_is_refused(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        other_user(text)
    assert caught.value.key == "worker_user"


def test_the_daemons_own_user_is_no_other(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    with pytest.raises(ConfigError, match="the daemon's own user"):
        other_user("lodger")


@pytest.mark.parametrize(("name", "bit"), users.NEEDED.items())
def test_each_capability_is_needed(monkeypatch, name, bit):
    monkeypatch.setattr(users, "capabilities", lambda: ALL & ~(1 << bit))

    with pytest.raises(ConfigError, match=f"lacks {name}\\."):
        other_user("lodger")


def test_the_capabilities_of_this_process(monkeypatch):
    monkeypatch.undo()
    held = all(users.capabilities() >> bit & 1 for bit in users.NEEDED.values())

    try:
        os.seteuid(12345)
    except PermissionError:
        assert not held
    else:  # who is not root has them no more
        assert held
        assert not any(users.capabilities() >> bit & 1 for bit in users.NEEDED.values())
        os.seteuid(0)
