import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agentd.errors import ConfigError, EndpointInUse
from agentd.transport import rundir
from agentd.transport.rundir import Lock, ipc_path, make_private, own, remove_socket


@pytest.mark.parametrize(
    ("endpoint", "hint"),
    [
        ("tcp://127.0.0.1:1", "not an endpoint"),
        ("ipc://relative/path", "starts with /"),
        ("ipc://", "not an endpoint"),
        ("/run/agentd.sock", "not an endpoint"),
        ("", "not an endpoint"),
        ("inproc://x", "not an endpoint"),
        ("ipc:///" + "x" * 107, "108 bytes"),
        ("ipc:///" + "é" * 54, "109 bytes"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(endpoint, hint):
    with pytest.raises(ConfigError, match=hint):
        ipc_path(endpoint)


def test_the_longest_path_is_allowed():
    assert ipc_path("ipc:///" + "x" * 106) == "/" + "x" * 106


def test_the_folder_is_made_private(tmp_path):
    before = os.umask(0)
    try:
        folder = make_private(str(tmp_path / "new" / "folder"))
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new" / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o022 == 0
    assert make_private(folder) == folder


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_folder_that_is_open_to_others_is_refused(tmp_path, mode):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 700"):
        make_private(str(folder))


def test_a_link_is_refused_wherever_it_leads(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for name in ("link", "dangling"):
        with pytest.raises(ConfigError, match="not a link"):
            make_private(str(tmp_path / name))


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="must be a folder"):
        make_private(str(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12_345, 12_345)

    with pytest.raises(ConfigError, match="another user"):
        make_private(str(folder))


def test_one_lock_one_owner(tmp_path):
    path = str(tmp_path / "lock")
    lock = Lock(path, "ipc:///x")

    with pytest.raises(EndpointInUse, match="ipc:///x") as caught:
        Lock(path, "ipc:///x")
    assert caught.value.endpoint == "ipc:///x"
    lock.release()

    assert not (tmp_path / "lock").exists()
    Lock(path, "ipc:///x").release()


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="lock"):
        Lock(str(tmp_path / "lock"), "x")


def test_a_lock_file_left_behind_locks_nobody_out(tmp_path):
    (tmp_path / "lock").touch()

    Lock(str(tmp_path / "lock"), "x").release()


def test_many_who_want_it_have_it_one_at_a_time(tmp_path):
    path = str(tmp_path / "lock")
    inside, most, had = [], [0], [0]

    def run():
        until = time.monotonic() + 20
        got = 0
        while got < 30 and time.monotonic() < until:
            try:
                lock = Lock(path, "x")
            except EndpointInUse:
                continue
            inside.append(1)
            most[0] = max(most[0], len(inside))
            inside.pop()
            lock.release()
            got += 1
        had[0] += got

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]
    assert had == [120]


def test_a_lock_of_a_killed_process_comes_free(tmp_path):
    path = str(tmp_path / "lock")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from agentd.transport.rundir import Lock; lock = Lock(sys.argv[1], 'x');"
            "print('held', flush=True); sys.stdin.read()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(EndpointInUse):
            Lock(path, "x")
        process.kill()

    Lock(path, "x").release()


@pytest.fixture
def listening(short):
    path = f"{short}/s"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
        yield path, one


@pytest.fixture
def short(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("s"))
    if len(folder) > 90:
        pytest.skip("the path of temporary files is too long for a socket")
    return folder


def test_a_living_listener_keeps_its_socket_even_without_its_lock_file(listening):
    path, _one = listening
    with pytest.raises(EndpointInUse):
        own(path, "x")

    assert not os.path.exists(path + ".lock")  # noqa: PTH110


def test_to_look_for_a_listener_is_not_to_come(listening):
    path, one = listening
    assert rundir.is_listening(path)
    one.settimeout(0)
    with pytest.raises(BlockingIOError):
        one.accept()


def test_nothing_and_a_plain_file_are_no_listeners(short):
    assert not rundir.is_listening(f"{short}/s")
    Path(f"{short}/s").touch()
    assert not rundir.is_listening(f"{short}/s")


def test_a_stale_socket_file_is_no_listener(short):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{short}/s")
    stale.close()

    assert not rundir.is_listening(f"{short}/s")
    own(f"{short}/s", "x").release()


def test_a_lock_that_is_let_go_soon_is_waited_for(short, monkeypatch):
    held = Lock(f"{short}/s.lock", "x")
    monkeypatch.setattr(rundir.time, "sleep", lambda _seconds: held.release())

    own(f"{short}/s", "x").release()


def test_a_lock_that_is_held_is_not_waited_for_long(short, monkeypatch):
    held = Lock(f"{short}/s.lock", "x")
    monkeypatch.setattr(rundir, "OWN_WAIT_S", 0)

    with pytest.raises(EndpointInUse):
        own(f"{short}/s", "x")
    held.release()


def test_the_socket_of_a_successor_is_left_alone(short):
    path = f"{short}/s"
    open(path, "w").close()  # noqa: PTH123
    successor = Lock(path + ".lock", "x")
    remove_socket(path)
    assert os.path.exists(path)  # noqa: PTH110
    successor.release()

    remove_socket(path)

    assert os.listdir(short) == []  # noqa: PTH208


def test_removing_what_is_gone_is_no_error(tmp_path):
    rundir.remove_folder(str(tmp_path / "none"))
    remove_socket(str(tmp_path / "none" / "s"))


@pytest.mark.parametrize("variable", [None, "/run/user/7"])
def test_the_run_folder_is_the_users_own(monkeypatch, variable):
    if variable is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        assert str(os.geteuid()) in rundir.base_folder()
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", variable)
        assert rundir.base_folder() == "/run/user/7/agentd"
    assert rundir.default_endpoint() == f"ipc://{rundir.base_folder()}/agentd.sock"


# -- the daemons' own folders ----------------------------------------------------------------------
def make_left(base, name="d-left"):
    folder = base / name
    folder.mkdir(mode=0o700)
    (folder / "back.sock").touch()
    return folder


def test_what_a_killed_daemon_left_is_swept_and_nothing_else(tmp_path):
    left = make_left(tmp_path)
    others = [make_left(tmp_path, "e-other"), tmp_path / "d-file", tmp_path / "d-link"]
    others[1].touch()
    others[2].symlink_to(others[0])
    held = rundir.hold(str(tmp_path / "d-held"))

    rundir.sweep(str(tmp_path))

    assert not left.exists()
    assert all(other.exists() for other in others)
    assert (others[0] / "back.sock").exists()
    assert (tmp_path / "d-held").is_dir()
    os.close(held)
    rundir.sweep(str(tmp_path))
    assert not (tmp_path / "d-held").exists()


def test_the_lock_of_a_folder_ends_with_its_process(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from agentd.transport import rundir; held = rundir.hold(sys.argv[1]);"
            "print('held', flush=True); sys.stdin.read()",
            str(tmp_path / "d-one"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        rundir.sweep(str(tmp_path))
        assert (tmp_path / "d-one").exists()
        process.kill()
    rundir.sweep(str(tmp_path))
    assert not (tmp_path / "d-one").exists()


def test_who_makes_his_folder_while_another_sweeps_has_it_in_the_end(tmp_path):
    over = threading.Event()

    def sweep():
        while not over.is_set():
            rundir.sweep(str(tmp_path))

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(300):
            folder = tmp_path / f"d-{number}"
            held = rundir.hold(str(folder))
            assert os.path.samestat(os.fstat(held), folder.stat())
            (folder / "file").touch()
            assert (folder / "file").exists()
            os.close(held)
    finally:
        over.set()
        sweeper.join()


def test_a_folder_that_cannot_be_locked_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="no locks"):
        rundir.hold(str(tmp_path / "d-one"))
    rundir.sweep(str(tmp_path))  # whoever sweeps does not mind
