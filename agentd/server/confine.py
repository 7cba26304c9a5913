"""What a worker gets of the daemon's surroundings, and how much of the machine it may use.

In safe mode, and where workers run as another user, their environment is an allow-list, since that
is where keys and passwords of the daemon's user are. Everything here decides only;
``worker/confine.py`` carries the limits out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from agentd.config import ServerConfig
from agentd.transport.users import User, other_user

__all__ = [
    "are_limits",
    "is_safe",
    "over_limit",
    "secret_values",
    "to_be_read",
    "worker_environment",
    "worker_limits",
    "worker_user",
]

ALLOWED: Final = (
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TMPDIR XDG_* PYTHON* VIRTUAL_ENV "
    "LD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR"
).split()
"""What programs need to find their files, their language and their time; nothing that is a key."""

OF_A_USER: Final = ("XDG_*", "TMPDIR")
"""Of those, what names folders of the daemon's user; another user has others."""

LEAST: Final[Mapping[str, int]] = {"memory_bytes": 128 * 1024 * 1024, "cpu_s": 1, "files": 64}
"""With less a worker does not even start: it takes 40 MB and 30 descriptors itself."""


def is_safe(config: ServerConfig) -> bool:
    """Whether the daemon runs in safe mode."""
    return config.safe


def worker_user(config: ServerConfig) -> User | None:
    """Whom the workers run as; ``None``: the daemon's user. Raises as ``other_user``."""
    return other_user(config.worker_user) if config.worker_user else None


def to_be_read(config: ServerConfig) -> list[str]:
    """Files and folders named in the settings that workers open themselves."""
    files = [source[5:] for source in config.secrets.values() if source.startswith("file:")]
    return [*config.path, *files]


def worker_environment(
    config: ServerConfig,
    environment: Mapping[str, str] | None = None,
    user: User | None = None,
) -> dict[str, str] | None:
    """The environment of the workers; ``None``: that of the daemon. ``user``: whom they run as."""
    if not _is_listed(config):
        return None
    mine = os.environ if environment is None else environment
    found = {name: value for name, value in mine.items() if _passes(name, config)}
    if user is not None:
        found |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name, "SHELL": user.shell}
    return found


def _is_listed(config: ServerConfig) -> bool:
    """Whether workers get only a part of the daemon's environment."""
    return is_safe(config) or bool(config.worker_user)


def _passes(name: str, config: ServerConfig) -> bool:
    if _matches(name, config.worker_env):
        return True
    return _matches(name, ALLOWED) and not (config.worker_user and _matches(name, OF_A_USER))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def secret_values(
    config: ServerConfig, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Secrets in variables that the workers do not get: these they are told, over their pipe."""
    if not _is_listed(config):
        return {}
    mine = os.environ if environment is None else environment
    found = {}
    for name, source in config.secrets.items():
        kind, _, variable = source.partition(":")
        if kind == "env" and mine.get(variable) and not _passes(variable, config):
            found[name] = mine[variable]
    return found


def worker_limits(config: ServerConfig, agents: Mapping[str, int]) -> dict[str, int]:
    """What one worker may use: what its agent asked for, and no more than the settings allow."""
    limits = dict(agents)
    for key, most in (
        ("memory_bytes", config.worker_memory_bytes),
        ("files", config.worker_files),
    ):
        if most:
            limits[key] = min(most, limits.get(key, most))
    return limits


def are_limits(value: Any) -> bool:
    """Whether an agent may ask for these."""
    return isinstance(value, dict) and all(
        key in LEAST and type(number) is int and LEAST[key] <= number < 1 << 62
        for key, number in value.items()
    )


def over_limit(signal: str | None, limits: Mapping[str, int]) -> str:
    """What a worker's death means that had limits; empty if they had no part in it."""
    if signal == "SIGXCPU" and "cpu_s" in limits:
        return f"it was over its limit of {limits['cpu_s']} s of processor time"
    return ""
