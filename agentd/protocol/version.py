"""The versions two peers tell each other when they meet."""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from agentd._version import __version__

__all__ = ["PROTOCOL", "Versions", "is_compiled", "local_versions"]

PROTOCOL: Final = 1
"""Peers that differ in this number refuse each other."""


class Versions(NamedTuple):
    """What one side runs: the wire protocol, agentd, Python and dill."""

    protocol: int
    agentd: str
    python: str
    dill: str | None

    def __str__(self) -> str:
        dill = f", dill {self.dill}" if self.dill else ""
        return f"agentd {self.agentd} (protocol {self.protocol}, Python {self.python}{dill})"


def is_compiled() -> bool:
    """Whether what every call goes through runs as machine code here, as in our wheels."""
    from agentd.protocol import envelope

    return not str(envelope.__file__).endswith(".py")


_local: Versions | None = None


def local_versions() -> Versions:
    """This process's own; dill is looked up in the package metadata, not imported."""
    global _local  # noqa: PLW0603 - computed once, the same for the life of the process
    if _local is None:
        _local = Versions(
            PROTOCOL, __version__, ".".join(map(str, sys.version_info[:3])), _dill_version()
        )
    return _local


def _dill_version() -> str | None:
    import importlib.util  # deferred: a client that only ever makes calls does not need it

    spec = importlib.util.find_spec("dill")
    if spec is None or spec.origin is None:
        return None
    # dill keeps its version in a file of its own; reading it costs far less than
    # importlib.metadata, which imports the e-mail package.
    info = spec.origin.replace("__init__.py", "__info__.py")
    try:
        with open(info, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("__version__"):
                    return line.split("=", 1)[1].strip().strip("'\"")
    except OSError:
        pass
    return "unknown"
