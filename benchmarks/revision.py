"""Revisions of the repository: which one this is, and another one in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "checked_out", "git", "revision"]

ROOT = Path(__file__).resolve().parent.parent


def git(*args: str) -> str:
    """What git says; raises ``CalledProcessError``."""
    command = ["git", "-C", str(ROOT), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def revision() -> str:
    """Short, with ``-dirty`` if files were changed since; ``unknown`` outside of a clone."""
    try:
        short = git("rev-parse", "--short=10", "HEAD")
        return short + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def checked_out(name: str, tell: Callable[[str], None], *, compiled: bool = False) -> Iterator[str]:
    """The interpreter of an environment that has the revision ``name`` installed.

    With the same versions of all that it needs as in this environment. ``compiled``: as our wheels
    are, if that revision can be.
    """
    commit = git("rev-parse", "--verify", f"{name}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="bench-base-") as folder:
        tree, env = Path(folder) / "tree", Path(folder) / "env"
        tell(f"checking out and installing {name} ({commit[:10]}) ...")
        git("worktree", "add", "--detach", str(tree), commit)
        try:
            versions = Path(folder) / "versions.txt"
            python = _installed(tree, env, versions, compiled=compiled)
            yield python
        finally:
            git("worktree", "remove", "--force", str(tree))


def _installed(tree: Path, env: Path, versions: Path, *, compiled: bool) -> str:
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    versions.write_text(
        "".join(f"{line}\n" for line in frozen.splitlines() if "==" in line), encoding="utf-8"
    )
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
    python = str(env / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run(
        [*pip, "--constraint", str(versions), str(tree), "numpy"],
        check=True,
        env={**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1"} if compiled else None,
    )
    return python
