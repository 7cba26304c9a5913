"""The private folder in which sockets live, and the lock that says whose it is.

Whoever can open a socket file can talk to the daemon, so the folder is 0700, ours and not a link.
A second bind on a live ``ipc://`` path succeeds in libzmq and steals it (measured, 4.3.5), which
is why the lock is taken before any bind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from typing import Final

from agentd.errors import ConfigError, EndpointInUse

__all__ = [
    "DEFAULT_SOCKET",
    "Lock",
    "base_folder",
    "check_private",
    "default_endpoint",
    "hold",
    "ipc_path",
    "is_closed",
    "is_listening",
    "is_tcp",
    "is_unix",
    "make_private",
    "own",
    "remove_folder",
    "remove_socket",
    "sweep",
    "worker_path",
]

DEFAULT_SOCKET: Final = "agentd.sock"
FOLDER_PREFIX: Final = "d-"
"""The names of daemons' own folders begin with it."""
OWN_WAIT_S: Final = 2.0
"""How long a lock may be held by somebody who does not listen."""
MAX_PATH_BYTES: Final = 107
"""``sockaddr_un.sun_path`` less its terminating zero (Linux, unix(7))."""


def base_folder() -> str:
    """This user's run folder: below ``$XDG_RUNTIME_DIR``, ``/run/user/UID`` or ``/tmp``.

    Not ``platformdirs``: where the variable is not set, its answer depends on ``TMPDIR``, so that
    a daemon and a client with different environments would miss each other.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "agentd")
    user = os.geteuid()
    if os.path.isdir(f"/run/user/{user}"):
        return f"/run/user/{user}/agentd"
    return f"/tmp/agentd-{user}"  # noqa: S108 - ``make_private`` refuses what is not ours alone


def default_endpoint() -> str:
    """Where this user's daemon listens unless told otherwise."""
    return f"ipc://{os.path.join(base_folder(), DEFAULT_SOCKET)}"


def ipc_path(endpoint: str) -> str:
    """The file behind an ``ipc://`` or ``unix://`` endpoint; ``ConfigError`` for anything else."""
    scheme, _, path = endpoint.partition("://")
    if scheme not in ("ipc", "unix") or not path:
        raise ConfigError(
            f"{endpoint!r} is not an endpoint; write ipc:///path/to/agentd.sock, or "
            "unix:///path/to/agentd.sock, or tcp://HOST:PORT"
        )
    if not path.startswith("/"):
        raise ConfigError(f"{endpoint!r}: the path of an ipc endpoint starts with /")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigError(
            f"the socket path {path} has {len(os.fsencode(path))} bytes; the system allows "
            f"{MAX_PATH_BYTES}. Choose a shorter folder (--bind, or XDG_RUNTIME_DIR)"
        )
    return path


def is_unix(endpoint: str) -> bool:
    """Whether it means a stream socket of this host, without ZeroMQ."""
    return endpoint.startswith("unix:")


def is_tcp(endpoint: str) -> bool:
    """Whether it means a TCP address, well written or not."""
    return endpoint.lower().startswith("tcp:")


def worker_path(address: str) -> str:
    """The file behind the ``unix://`` address of a worker's own socket."""
    scheme, _, path = address.partition("://")
    if scheme != "unix" or not path.startswith("/"):
        raise ConfigError(f"{address!r} is not the address of a worker")
    return path


def make_private(folder: str) -> str:
    """Make the folder if needed; ``ConfigError`` unless it is ours, 0700 and no link."""
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    return check_private(folder)


def check_private(folder: str) -> str:
    """``ConfigError`` unless the folder is there, ours, 0700 and no link."""
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} must be a folder, and not a link")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{folder} belongs to another user; sockets there would not be private")
    if found.st_mode & 0o077:
        raise ConfigError(f"{folder} is open to others; close it with: chmod 700 {folder}")
    return folder


class Lock:
    """An exclusive lock on a file, held until ``release`` or the end of the process."""

    def __init__(self, path: str, what: str) -> None:
        """Take it at once, or raise ``EndpointInUse`` for ``what``."""
        self.path = path
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._fd)
                raise in_use(what) from None
            if self._still_there():
                return
            os.close(self._fd)  # its owner removed the file while we opened it: try again

    def _still_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give it back and remove the file."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        os.close(self._fd)


def own(path: str, what: str) -> Lock:
    """Take the lock of a socket file; raises ``EndpointInUse`` if another daemon listens there.

    A lock without a listener is one of a daemon that starts or ends, or of a worker that clears
    away what a killed daemon left; that passes within a moment, so it is waited for.
    """
    until = time.monotonic() + OWN_WAIT_S
    while True:
        try:
            lock = Lock(path + ".lock", what)
            break
        except EndpointInUse:
            if is_listening(path) or time.monotonic() > until:
                raise
            time.sleep(0.02)
    if is_listening(path):  # a cleaner of /tmp removed the lock file of a living daemon
        lock.release()
        raise in_use(what)
    return lock


def in_use(what: str) -> EndpointInUse:
    """Another daemon has it."""
    return EndpointInUse(
        f"another agentd daemon already listens on {what}; stop it with `agentctl stop`, or choose "
        "another --bind",
        endpoint=what,
    )


def is_listening(path: str) -> bool:
    """Whether a process has the socket file open, without connecting to it.

    To a socket of another type nobody can connect: the kernel finds the socket behind the file,
    sees its type and says so (EPROTOTYPE; unix(7)), or finds that there is none (ECONNREFUSED). The
    listener is not told: a connection that says nothing would look to it like a failed handshake.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        try:
            other.connect(path)
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return False


def is_closed(path: str) -> bool:
    """Whether this user may not come near the socket file, so that nothing is known of it."""
    try:
        return not os.access(path, os.W_OK) and bool(os.stat(path))
    except PermissionError:
        return True
    except OSError:
        return False


def remove_socket(path: str) -> None:
    """Remove the socket file if nobody owns its lock any more (a successor may already)."""
    try:
        lock = Lock(path + ".lock", path)
    except (EndpointInUse, OSError):
        return
    with contextlib.suppress(OSError):
        os.unlink(path)
    lock.release()


def hold(folder: str) -> int:
    """Make a daemon's own folder; the descriptor whose lock says, until it is closed, who has it.

    The folder itself is locked: a file for that would be one more thing to be left behind.
    """
    while True:
        # Somebody may take it for one that was left, just as it is made: it is made anew.
        with contextlib.suppress(FileNotFoundError):
            make_private(folder)
            held = _lock_folder(folder)
            if held is not None:
                return held
        time.sleep(0.001)


def sweep(base: str) -> None:
    """Remove the folders that daemons left in ``base`` which were killed too early in their lives.

    Before its first worker runs, nobody clears up after a daemon. Afterwards its workers do.
    """
    for name in os.listdir(base):
        folder = os.path.join(base, name)
        if name.startswith(FOLDER_PREFIX) and not os.path.islink(folder):
            with contextlib.suppress(OSError):
                _sweep_folder(folder)


def _sweep_folder(folder: str) -> None:
    held = _lock_folder(folder)
    if held is None:
        return
    try:
        remove_folder(folder)
    finally:
        os.close(held)


def _lock_folder(folder: str) -> int | None:
    """Its descriptor, locked; ``None`` if somebody has the lock, or it is gone by now."""
    with contextlib.suppress(FileNotFoundError):
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(folder)):
                return held
        except BlockingIOError:
            pass
        except OSError:
            os.close(held)
            raise
        os.close(held)
    return None


def remove_folder(folder: str) -> None:
    """Remove the folder and what is in it; nothing happens if it is gone already."""
    # As ``shutil.rmtree``, which takes 3 ms to import: links are removed, not followed.
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(place, name))
        for name in folders:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                (os.unlink if os.path.islink(path) else os.rmdir)(path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)
