"""The files that a worker lets be read: by token only, and only as they were returned."""

import os

import pytest

from agentd.errors import ProtocolError, ResultExpired
from agentd.worker import files as module
from agentd.worker.files import MAX_AGE_S, MAX_READ, Files
from tests.machine import descriptors
from tests.unit.worker.fakes import Clock

AGENT, OTHER = b"a" * 16, b"b" * 16


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def files(clock):
    return Files(clock)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "report"
    file.write_bytes(b"0123456789")
    return file


def offer(files, path, agent=AGENT):
    return files.offer(agent, str(path))


def refused(files, token, agent=AGENT):
    with pytest.raises(ResultExpired) as caught:
        files.read(agent, token, 0, 10)
    return caught.value.reason


def test_any_part_is_read_by_its_token(files, path):
    token, size = offer(files, path)
    assert (len(token), size) == (16, 10)
    assert files.read(AGENT, token, 0, 10) == b"0123456789"
    assert files.read(AGENT, token, 3, 4) == b"3456"
    assert files.read(AGENT, token, 8, 100) == b"89"
    assert files.read(AGENT, token, 10, 5) == files.read(AGENT, token, 2**64 - 1, 5) == b""
    assert files.read(AGENT, token, 0, 0) == b""
    assert files.find(AGENT, token) == os.path.realpath(path)


def test_nothing_is_read_by_another_token_or_for_another_agent(files, path):
    token, _ = offer(files, path)
    for wrong in (os.urandom(16), b"", token[:-1], token + b"\0", os.fsencode(path)):
        assert refused(files, wrong) == "forgotten"
    assert refused(files, token, OTHER) == "forgotten"
    with pytest.raises(ResultExpired):
        files.find(OTHER, token)


def test_tokens_differ_but_for_the_same_file_of_the_same_agent(files, path, tmp_path):
    (tmp_path / "copy").write_bytes(path.read_bytes())
    token, _ = offer(files, path)
    assert offer(files, path)[0] == token
    others = [offer(files, path, OTHER)[0], offer(files, tmp_path / "copy")[0]]
    path.write_bytes(b"changed")
    others.append(offer(files, path)[0])
    assert len({token, *others}) == 4
    assert files.read(AGENT, others[-1], 0, 10) == b"changed"


def rewritten(path):
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(0, 0))


def replaced(path):
    times = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"9876543210")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(path)


def longer(path):
    times = path.stat()
    path.write_bytes(b"0123456789 and more")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("/etc/hostname")


def made_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rewritten, "changed"),
        (replaced, "changed"),
        (longer, "changed"),
        (made_a_pipe, "changed"),
        (made_a_folder, "changed"),
        (linked, "gone"),
        (os.unlink, "gone"),
    ],
)
def test_what_is_not_what_was_returned_is_not_read(files, path, change, reason):
    token, _ = offer(files, path)
    change(path)
    assert refused(files, token) == reason


def test_a_change_while_it_is_read_is_noticed(files, path, monkeypatch):
    token, _ = offer(files, path)
    pread = os.pread

    def slow(*args):
        found = pread(*args)
        rewritten(path)
        return found

    monkeypatch.setattr(module.os, "pread", slow)
    assert refused(files, token) == "changed"


def test_what_the_system_gives_in_pieces_is_put_together(files, path, monkeypatch):
    token, _ = offer(files, path)
    pread = os.pread
    monkeypatch.setattr(module.os, "pread", lambda fd, n, at: pread(fd, min(n, 3), at))
    assert files.read(AGENT, token, 1, 8) == b"12345678"


def test_a_link_is_followed_when_the_file_is_returned_and_not_later(files, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    token, _ = offer(files, link)
    link.unlink()
    link.symlink_to("/etc/hostname")
    assert files.read(AGENT, token, 0, 10) == b"0123456789"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("missing", FileNotFoundError),
        (".", IsADirectoryError),
        ("pipe", OSError),
        ("dangling", FileNotFoundError),
        ("report/below", NotADirectoryError),
    ],
)
def test_what_is_no_file_is_not_offered(files, path, tmp_path, what, error):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(error) as caught:
        offer(files, tmp_path / what)
    assert caught.value.filename == str(tmp_path / what)


def test_one_answer_is_limited(files, path):
    path.write_bytes(bytes(MAX_READ + 1))
    token, size = offer(files, path)
    assert len(files.read(AGENT, token, 0, size)) == MAX_READ
    assert len(files.read(AGENT, token, MAX_READ, size)) == 1


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1)])
def test_before_the_beginning_there_is_nothing(files, path, offset, size):
    token, _ = offer(files, path)
    with pytest.raises(ProtocolError):
        files.read(AGENT, token, offset, size)


def test_it_is_kept_for_an_hour_after_its_last_use(files, path, clock):
    token, _ = offer(files, path)
    for _ in range(3):
        clock.advance(0.9 * MAX_AGE_S)
        assert files.read(AGENT, token, 0, 1) == b"0"
    clock.advance(0.9 * MAX_AGE_S)
    offer(files, path)
    clock.advance(0.9 * MAX_AGE_S)
    assert files.read(AGENT, token, 0, 1) == b"0"
    clock.advance(1.1 * MAX_AGE_S)
    assert refused(files, token) == "forgotten"
    assert offer(files, path)[0] != token


def test_at_most_so_many_are_kept_the_longest_unused_goes(files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNT", 3)
    tokens = []
    for number in range(4):
        (tmp_path / str(number)).touch()
        tokens.append(offer(files, tmp_path / str(number))[0])
        if number == 2:
            files.read(AGENT, tokens[0], 0, 1)
    assert refused(files, tokens[1]) == "forgotten"
    assert [files.read(AGENT, tokens[n], 0, 1) for n in (0, 2, 3)] == [b""] * 3


def test_they_end_with_their_agent(files, path):
    mine, other = offer(files, path)[0], offer(files, path, OTHER)[0]
    files.forget(AGENT)
    assert refused(files, mine) == "forgotten"
    assert files.read(OTHER, other, 0, 1) == b"0"


def test_no_descriptor_is_left_open(files, path):
    before = descriptors()
    token, _ = offer(files, path)
    files.read(AGENT, token, 0, 10)
    rewritten(path)
    refused(files, token)
    assert descriptors() <= before
