"""Code that came with agents: checked, kept once, bounded."""

import hashlib
import os
from pathlib import Path

import msgpack
import pytest

from agentd.errors import ConfigError, ConnectionLost, Overloaded, ProtocolError
from agentd.serialization import sources
from agentd.server import codestore
from agentd.server.codestore import AHEAD, WAIT_S, CodeStore
from tests.unit.server.fakes import FakeLoop


def sha(content):
    return hashlib.sha256(content).digest()


class Sent:
    """A bundle as a client would send it."""

    def __init__(self, *files):
        self.contents = {sha(content): content for _path, content in files}
        self.sources = [
            [path[:-3].replace("/", "."), sha(content), path, f"/home/{path}", False]
            for path, content in files
        ]
        self.manifest = msgpack.packb(self.sources)
        self.code = sha(self.manifest)

    def go(self, store, who="client"):
        wanted = store.offer(who, self.code, self.manifest, local=True)
        while wanted:
            file = wanted.pop()
            store.supply(self.code, file, self.contents[file])
            wanted += store.wanted(who, self.code)


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def store(tmp_path, loop):
    return CodeStore(str(tmp_path / "code"), loop.later)


def test_a_bundle_comes_and_can_be_read(store):
    sent = Sent(("one.py", b"VALUE = 1"), ("pack/two.py", b"VALUE = 2"))
    sent.go(store)
    stored = store.get(sent.code)
    assert stored.complete
    assert Path(stored.folder, "files/pack/two.py").read_bytes() == b"VALUE = 2"
    assert msgpack.unpackb(Path(stored.folder, "manifest").read_bytes())["local"] is True
    assert stored.modules == {"one": sha(b"VALUE = 1"), "pack.two": sha(b"VALUE = 2")}


@pytest.mark.parametrize(
    ("shared", "folder_mode", "file_mode"), [(False, 0o700, 0o600), (True, 0o755, 0o644)]
)
def test_who_may_read_it_whatever_the_umask(tmp_path, loop, shared, folder_mode, file_mode):
    store = CodeStore(str(tmp_path / "code"), loop.later, shared=shared)
    before = os.umask(0o077 if shared else 0)
    try:
        Sent(("pack/deep/two.py", b"2")).go(store)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "code").rglob("*")}
    assert len(found) == 6
    for path, mode in found.items():
        assert mode == (folder_mode if path.is_dir() else file_mode), path


def test_its_descriptor_leads_to_it(store):
    fd = store.descriptor()
    sent = Sent(("one.py", b"1"))
    sent.go(store)
    try:
        assert Path(f"/proc/self/fd/{fd}/{sent.code.hex()}/files/one.py").read_bytes() == b"1"
    finally:
        os.close(fd)


def test_only_what_is_missing_is_asked_for(store):
    sent = Sent(("one.py", b"1"))
    sent.go(store)
    assert store.offer("another", sent.code, sent.manifest, local=True) == []


def test_few_files_are_asked_for_at_once(store):
    sent = Sent(*((f"m{i}.py", b"%d" % i) for i in range(3 * AHEAD)))
    wanted = store.offer("client", sent.code, sent.manifest, local=True)
    assert len(wanted) == AHEAD
    assert store.wanted("client", sent.code)[0] not in wanted


def test_agents_wait_for_the_last_file(store):
    sent = Sent(("one.py", b"1"))
    store.offer("client", sent.code, sent.manifest, local=True)
    told = []
    store.when_complete(store.get(sent.code), told.append)
    assert told == []
    store.supply(sent.code, sha(b"1"), b"1")
    assert told == [None]


def test_agents_do_not_wait_for_ever(store, loop):
    sent = Sent(("one.py", b"1"))
    store.offer("client", sent.code, sent.manifest, local=True)
    told = []
    store.when_complete(store.get(sent.code), told.append)
    loop.pass_time(WAIT_S + 1)
    assert [type(error) for error in told] == [ConnectionLost]


def test_what_was_never_offered_is_told(store):
    with pytest.raises(ConfigError):
        store.get(b"x" * 32)


def test_a_file_has_the_content_that_its_name_promises(store):
    sent = Sent(("one.py", b"1"))
    store.offer("client", sent.code, sent.manifest, local=True)
    with pytest.raises(ProtocolError):
        store.supply(sent.code, sha(b"1"), b"2")
    assert not store.get(sent.code).complete


def test_a_list_has_the_name_that_was_told(store):
    sent = Sent(("one.py", b"1"))
    with pytest.raises(ProtocolError):
        store.offer("client", sha(b"other"), sent.manifest, local=True)


D = sha(b"1")
WRONG = {
    "no list": {"a": 1},
    "no msgpack": None,
    "too short": [["one", D, "one.py", "/one.py"]],
    "wrong types": [["one", D, "one.py", "/one.py", 1]],
    "leads out": [["one", D, "../one.py", "/one.py", False]],
    "leads out in the middle": [["one", D, "a/../../one.py", "/one.py", False]],
    "absolute": [["one", D, "/etc/one.py", "/one.py", False]],
    "no path": [["one", D, "", "/one.py", False]],
    "a zero byte": [["one", D, "one\0.py", "/one.py", False]],
    "no name of a module": [["one/../two", D, "one.py", "/one.py", False]],
    "a short digest": [["one", b"1", "one.py", "/one.py", False]],
    "a file without content": [["", b"", "one.txt", "/one.txt", True]],
}


@pytest.mark.parametrize("listed", WRONG.values(), ids=WRONG)
def test_a_wrong_list_is_refused(store, tmp_path, listed):
    raw = b"\xc1" if listed is None else msgpack.packb(listed)
    with pytest.raises(ProtocolError):
        store.offer("client", sha(raw), raw, local=True)
    assert not list(tmp_path.rglob("*.py"))


def test_more_than_fits_is_refused(store, monkeypatch):
    monkeypatch.setattr(codestore, "MAX_FILE_BYTES", 3)
    sent = Sent(("one.py", b"1234"))
    store.offer("client", sent.code, sent.manifest, local=True)
    with pytest.raises(Overloaded):
        store.supply(sent.code, sha(b"1234"), b"1234")


def test_unused_code_makes_room_and_used_code_does_not(store, monkeypatch):
    monkeypatch.setattr(codestore, "MAX_BUNDLE_BYTES", 10)
    monkeypatch.setattr(codestore, "MAX_BYTES", 20)
    first, second, third = (Sent(("one.py", bytes([i]) * 10)) for i in range(3))
    first.go(store)
    second.go(store)  # the first one makes room
    with pytest.raises(ConfigError):
        store.get(first.code)
    store.get(second.code).users += 1
    with pytest.raises(Overloaded):
        third.go(store)
    store.forget_user(second.code)
    third.go(store)
    assert store.get(third.code).complete


def test_what_a_client_may_send_is_what_a_daemon_takes():
    """The two rooms may not see each other."""
    assert sources.MAX_FILES == codestore.MAX_FILES
    assert sources.MAX_FILE_BYTES == codestore.MAX_FILE_BYTES
    assert sources.MAX_BYTES == codestore.MAX_BUNDLE_BYTES
