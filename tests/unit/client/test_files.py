"""``agentd.File`` in its own process: what it names, how it is written, what it refuses."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import agentd
from agentd import serialization
from agentd.client import scratch
from agentd.client.files import File, FileReference
from agentd.client.references import References
from agentd.client.saving import CHUNK, write
from agentd.errors import DecodeError, SerializationError

ROOT = Path(__file__).parents[3]
REFERENCE = FileReference(b"t" * 16, b"a" * 16, "ipc:///no/where", 3, "report.pdf", 12)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "report.txt"
    file.write_bytes(b"content")
    return file


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# -- a file of this host ---------------------------------------------------------------------------


def test_it_names_a_file(path, monkeypatch):
    file = agentd.File(path)
    assert (file.name, file.size, file.path) == ("report.txt", 7, path)
    assert os.fspath(file) == str(path)
    with open(file, "rb") as opened:  # noqa: PTH123 - as users write it
        assert opened.read() == b"content"
    monkeypatch.chdir(path.parent)
    relative = agentd.File("report.txt")
    monkeypatch.chdir("/")
    assert relative.path == path


def test_what_is_no_file_is_refused_at_once(path):
    with pytest.raises(FileNotFoundError, match="missing"):
        agentd.File(path.with_name("missing"))
    with pytest.raises(IsADirectoryError, match="folder"):
        agentd.File(path.parent)
    with pytest.raises(OSError, match="regular"):
        agentd.File(os.devnull)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1])
def test_it_is_copied_with_progress(path, tmp_path, size):
    path.write_bytes(os.urandom(size))
    seen = []
    saved = agentd.File(path).save(
        tmp_path / "copy", lambda done, whole: seen.append((done, whole))
    )
    assert saved == tmp_path / "copy"
    assert saved.read_bytes() == path.read_bytes()
    assert seen == sorted(set(seen))
    assert seen[-1] == (size, size)
    assert len(seen) == max(1, -(-size // CHUNK))


def test_it_is_put_into_a_folder_under_its_name(path, tmp_path):
    (tmp_path / "folder").mkdir()
    assert agentd.File(path).save(tmp_path / "folder") == tmp_path / "folder" / "report.txt"
    assert agentd.File(path).save() == path


def test_the_umask_holds_for_what_is_saved(path, tmp_path):
    before = os.umask(0o027)
    try:
        saved = agentd.File(path).save(tmp_path / "copy")
    finally:
        os.umask(before)
    assert saved.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("target", ["missing/copy", "missing/"])
def test_a_folder_that_is_missing_is_named(path, tmp_path, target):
    with pytest.raises(FileNotFoundError, match="missing"):
        agentd.File(path).save(f"{tmp_path}/{target}")
    assert names_in(tmp_path) == ["report.txt"]


# -- writing ---------------------------------------------------------------------------------------


def failing():
    yield b"half of it"
    raise ConnectionError("the other half")


def test_what_fails_leaves_the_target_as_it_was(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(ConnectionError):
        write(failing(), str(target), 20, None)
    assert names_in(tmp_path) == []
    target.write_text("before")
    with pytest.raises(ConnectionError):
        write(failing(), str(target), 20, None)
    assert target.read_text() == "before"
    assert names_in(tmp_path) == ["target"]


def test_what_progress_raises_ends_it(path, tmp_path):
    def stop(_done, _size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agentd.File(path).save(tmp_path / "copy", stop)
    assert names_in(tmp_path) == ["report.txt"]


def test_nobody_sees_half_a_file(tmp_path):
    target = tmp_path / "target"
    target.write_text("before")

    def parts():
        yield b"after"
        assert target.read_text() == "before"
        yield b"wards"

    write(parts(), str(target), 10, None)
    assert target.read_text() == "afterwards"


# -- travelling ------------------------------------------------------------------------------------


def test_a_file_of_a_client_does_not_travel(path):
    with pytest.raises(SerializationError, match=r"args\[0\]\['f'\]|args\[0\]\[\"f\"\]") as caught:
        serialization.encode_call(({"f": agentd.File(path)},), {}, refs=References())
    assert "read it, and send the bytes" in str(caught.value)
    assert caught.value.culprit == "agentd.client.files.File"
    with pytest.raises(SerializationError):
        pickle.dumps(agentd.File(path))
    with pytest.raises(SerializationError):
        serialization.encode(agentd.File(path), refs=References(), data_only=True)


def test_a_file_elsewhere_travels_as_its_reference():
    file = File.arrived(REFERENCE.wire())
    for data_only in (False, True):
        encoded = serialization.encode([file], refs=References(), data_only=data_only)
        [found] = serialization.decode(*encoded, refs=References())
        assert (found, found.reference, found.name, found.size) == (
            file,
            REFERENCE,
            "report.pdf",
            12,
        )
    assert pickle.loads(pickle.dumps(file)) == file
    assert copy.copy(file) is copy.deepcopy(file) is file


def test_equal_is_what_is_the_same_file(path):
    assert agentd.File(path) == agentd.File(str(path))
    other = path.with_name("other")
    other.write_bytes(b"content")
    same = File.arrived(REFERENCE.wire())
    another = File.arrived(REFERENCE._replace(token=b"u" * 16).wire())
    files = {agentd.File(path), agentd.File(path), agentd.File(other), same, another}
    files.add(File.arrived(REFERENCE.wire()))
    assert len(files) == 4
    assert agentd.File(path) != str(path)


def test_it_tells_what_it_is(path):
    assert repr(agentd.File(path)) == f"<File '{path}'>"
    assert repr(File.arrived(REFERENCE.wire())) == "<File 'report.pdf' of agent 61616161, 12 bytes>"


@pytest.mark.parametrize(
    "wire",
    [
        ("file",),
        ("file", *REFERENCE[:-1]),
        (*REFERENCE.wire(), 1),
        ("file", "path" * 4, *REFERENCE[1:]),
        REFERENCE._replace(token=b"short").wire(),
        REFERENCE._replace(agent=b"short").wire(),
        REFERENCE._replace(size=-1).wire(),
        REFERENCE._replace(size=True).wire(),
        REFERENCE._replace(name="").wire(),
        REFERENCE._replace(name="..").wire(),
        REFERENCE._replace(name="../../.profile").wire(),
        REFERENCE._replace(name="/etc/passwd").wire(),
        REFERENCE._replace(name="nul\0").wire(),
    ],
)
def test_a_reference_that_is_none_is_a_decode_error(wire):
    with pytest.raises(DecodeError):
        References().from_wire(wire)


class Refusing(References):
    def to_wire(self, obj):
        if isinstance(obj, File):
            raise serialization.Refusal(PermissionError("not yours"))
        return super().to_wire(obj)


def test_an_error_of_the_file_is_told_as_it_is(path):
    file = agentd.File(path)
    for value in (file, [file], {"a": (file,)}):
        for data_only in (False, True):
            with pytest.raises(PermissionError, match="not yours"):
                serialization.encode(value, refs=Refusing(), data_only=data_only)


def test_an_exception_with_such_a_file_still_travels(path):
    error = ValueError("about a file")
    error.file = agentd.File(path)
    facts, encoded = serialization.encode_error(error, refs=Refusing())
    found = serialization.decode_error(facts, *encoded, refs=References())
    assert (type(found), found.args) == (ValueError, ("about a file",))


# -- the private folder ----------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Where temporary folders are, for this process and those that it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch, "_mine", None)
    return tmp_path


HOLDS = (
    "import sys; from agentd.client.scratch import new_folder;"
    "print(new_folder(), flush=True); sys.stdin.read()"
)


def holder():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return process, Path(process.stdout.readline().strip())


def test_the_folder_goes_with_its_process(base):
    process, folder = holder()
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    (folder / "file").touch()
    process.communicate()
    assert names_in(base) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_one(base):
    process, folder = holder()
    living, kept = holder()
    (folder / "file").touch()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "file").exists()
    (base / "agentd-files-by-hand").symlink_to(base)

    mine = Path(scratch.new_folder())

    assert not folder.parent.exists()
    assert mine.exists()
    assert kept.exists()
    assert Path(scratch.new_folder()).parent == mine.parent
    living.communicate()


FORKS = """
import os
from agentd.client.scratch import new_folder
mine = new_folder()
child = os.fork()
theirs = new_folder()
os.write(1, os.path.dirname(theirs).encode() + b"\\n")  # whole, not beside the other's
if child:
    os.waitpid(child, 0)
    assert os.path.isdir(mine)
"""


def test_a_forked_child_has_its_own_and_leaves_ours(base):
    done = subprocess.run(
        [sys.executable, "-c", FORKS], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(set(done.stdout.split())) == 2
    assert names_in(base) == []
