"""Measurements run in processes of their own; this starts one and takes what it found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.system import end_all

__all__ = ["Outcome", "command", "home", "measure", "private_environment"]

_LAUNCH = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from benchmarks.inside import main; main(*sys.argv[2:])"
)
PATIENCE_S = 5.0
"""What a measurement leaves running has that long to end by itself."""


class Outcome(NamedTuple):
    """What became of one measurement: values, or why there are none."""

    values: dict[str, float]
    missing: str = ""
    """Cannot be measured yet."""
    error: str = ""
    left_running: int = 0
    """Processes that had not ended a while after the client had."""
    agentd: str = ""
    """Where the measured package was imported from."""
    compiled: bool = False
    """Whether its hot modules are machine code."""


@contextmanager
def home() -> Iterator[str]:
    """A folder that has this package and nothing else.

    With it in front of ``sys.path``, another revision's agentd is measured by this one's code.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (Path(folder) / "benchmarks").symlink_to(Path(__file__).resolve().parent)
        yield folder


def command(
    kind: str, job: dict[str, Any], python: str | None = None, folder: str | None = None
) -> list[str]:
    """A process that does ``job``; see ``benchmarks.inside``. Default: as this process runs."""
    if folder is None:
        folder = str(Path(__file__).parent.parent)
    return [python or sys.executable, "-P", "-c", _LAUNCH, folder, kind, json.dumps(job)]


@contextmanager
def private_environment() -> Iterator[dict[str, str]]:
    """An environment in which no daemon of this user is found, and nothing is configured."""
    # Below /tmp: a socket's path has at most 107 bytes.
    run_dir = tempfile.mkdtemp(prefix="ab-", dir="/tmp")
    left_out = ("AGENTD_", "PYTHONPATH")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    try:
        yield {**clean, "XDG_RUNTIME_DIR": run_dir}
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def measure(job: dict[str, Any], *, limit_s: float, folder: str, python: str | None) -> Outcome:
    """Run one measurement to its end, or to its limit; nothing of it is left running."""
    with private_environment() as env:
        process = subprocess.Popen(
            command("measure", job, python, folder),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit_s)
            outcome = _read(out, err, process.returncode)
        except subprocess.TimeoutExpired:
            outcome = Outcome({}, error=f"not done within {limit_s:g} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            left = end_all(f"XDG_RUNTIME_DIR={env['XDG_RUNTIME_DIR']}", PATIENCE_S)
        return outcome._replace(left_running=left)


def _read(out: str, err: str, code: int) -> Outcome:
    lines = out.splitlines()
    try:
        return Outcome(**json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        last = err.strip().splitlines()[-1:] or ["no message"]
        return Outcome({}, error=f"ended with code {code}: {last[0]}")
