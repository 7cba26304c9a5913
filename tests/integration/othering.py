"""Daemons whose workers run as another user, which needs root, and a Python that user can reach."""

import atexit
import contextlib
import functools
import os
import pwd
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.integration.conftest import ROOT, environment

OTHER = "nobody"
UID = pwd.getpwnam(OTHER).pw_uid
NEEDED = {
    Path(path).resolve()
    for path in (sys.base_prefix, sys.prefix, sysconfig.get_path("purelib"), ROOT)
}
"""What a worker has to be able to read."""


def _closed() -> set[Path]:
    """Folders on the way there that are closed to others."""
    above = {folder for path in NEEDED for folder in path.parents}
    return {folder for folder in above if not folder.stat().st_mode & 0o001}


@functools.cache
def _kept() -> str:
    """A folder to bind to, which goes with this process.

    Only empty folders are removed, never a file: should a mount be seen out here, it stays.
    """
    folder = tempfile.mkdtemp(prefix="ago", dir="/tmp")

    def remove() -> None:
        for each in sorted(Path(folder).rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                each.rmdir()
        with contextlib.suppress(OSError):
            Path(folder).rmdir()

    atexit.register(remove)
    return folder


def opened() -> list[str]:
    """What to put before a command, so that other users can reach this Python.

    In a mount namespace of its own; nothing is changed outside of it.
    """
    lines = ["set -e"]
    for number, closed in enumerate(sorted(_closed())):
        kept = _kept()
        inside = [path for path in NEEDED if closed in path.parents]
        for path in inside:
            lines.append(f"mkdir -p {kept}/{number}{path}")
            lines.append(f"mount --bind {shlex.quote(str(path))} {kept}/{number}{path}")
        lines.append(f"mount -t tmpfs -o mode=755 none {shlex.quote(str(closed))}")
        for path in inside:
            lines.append(f"mkdir -p {shlex.quote(str(path))}")
            lines.append(f"mount --bind {kept}/{number}{path} {shlex.quote(str(path))}")
    lines.append('exec "$@"')
    return ["unshare", "--mount", "sh", "-c", "\n".join(lines), "sh"]


def why_not() -> str:
    """Why these tests cannot run here; empty: they can."""
    if os.geteuid() != 0:
        return "only root may start a process as somebody else"
    try:
        done = subprocess.run(
            [*opened(), "setpriv", f"--reuid={UID}", "--clear-groups", "--inh-caps=-all",
             sys.executable, "-P", "-c", "import agentd.worker.host"],
            capture_output=True, text=True, env=environment(), check=False, timeout=60,
        )  # fmt: skip
    except OSError as error:
        return f"{error.filename} is missing"
    return "" if done.returncode == 0 else f"{OTHER} cannot run Python here: {done.stderr[-200:]}"
