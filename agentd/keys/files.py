"""Files that decide about access: written whole, read only if nobody else can have had a hand in.

Secrets are opened with ``O_EXCL | O_NOFOLLOW`` and mode 0600 from their first byte on, and refused
on reading if others can read them: pyzmq's own ``create_certificates`` left one 0644 under the
usual umask (measured, 27.3.0).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Final

from agentd.errors import ConfigError

__all__ = [
    "check_folder",
    "config_folder",
    "make_folder",
    "quoted",
    "read_bytes",
    "read_toml",
    "write_new",
    "wrong_with",
]

MOST_BYTES: Final = 65_536
"""No file of ours comes near it: a bigger one is something else."""


def config_folder(config_dir: str = "") -> str:
    """``config_dir`` if given, else ``$AGENTD_CONFIG_DIR``, else the usual one of this user."""
    given = config_dir or os.environ.get("AGENTD_CONFIG_DIR")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "agentd")


def make_folder(folder: str) -> str:
    """Make it, 0700, if it is not there; ``ConfigError`` if others can write to it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return check_folder(folder)


def check_folder(folder: str) -> str:
    """``ConfigError`` unless it is a folder of ours that nobody else can write to."""
    wrong = wrong_with(os.stat(folder))
    if wrong is None and not os.path.isdir(folder):
        wrong = "is not a folder"
    if wrong is not None:
        raise ConfigError(f"{folder} {wrong}")
    return folder


def wrong_with(found: os.stat_result, *, secret: bool = False) -> str | None:
    """What is wrong with a file's owner and mode; ``None``: nothing."""
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user ({found.st_uid})"
    if found.st_mode & 0o022:
        return "can be written by others; close it with: chmod go-w"
    if secret and found.st_mode & 0o077:
        return "is a secret that others can read; make a new one, or at least: chmod 600"
    return None


def read_bytes(path: str, *, secret: bool = False) -> bytes:
    """The content; ``ConfigError`` unless it is a plain file of ours, closed to others.

    Raises ``FileNotFoundError`` if there is none.
    """
    try:
        # Not blocking: what waits for a writer is no file.
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(opened)
        wrong = wrong_with(found, secret=secret)
        if not stat.S_ISREG(found.st_mode):
            wrong = "is not a plain file"
        elif found.st_size > MOST_BYTES:
            wrong = f"has more than {MOST_BYTES:,} bytes"
        if wrong is not None:
            raise ConfigError(f"{path} {wrong}")
        return os.read(opened, MOST_BYTES)
    finally:
        os.close(opened)


def read_toml(path: str, *, secret: bool = False) -> dict[str, Any]:
    """The table in it; ``ConfigError`` as ``read_bytes``, or for what is no TOML."""
    content = read_bytes(path, secret=secret)
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        # Never the text: it may be that of a secret.
        raise ConfigError(f"{path} is not a TOML file") from (None if secret else error)


def write_new(path: str, text: str, *, replace: bool = False) -> None:
    """Write a file, 0600, whole or not at all; ``ConfigError`` if it is there already.

    ``replace``: then put it in the place of the other.
    """
    import secrets

    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(new, flags, 0o600)
    try:
        try:
            os.fchmod(opened, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8", closefd=False) as file:
                file.write(text)
                file.flush()
            os.fsync(opened)
        finally:
            os.close(opened)
        if replace:
            os.rename(new, path)
        else:
            os.link(new, path, follow_symlinks=False)  # unlike rename it replaces nothing
    except FileExistsError:
        raise ConfigError(f"{path} exists already; it was left as it is") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def quoted(text: str) -> str:
    """The text as a string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
