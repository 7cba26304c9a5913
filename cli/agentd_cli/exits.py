"""Exit codes and error sentences of both commands: one table each, used by code and ``--help``.

Errors of agentd are told apart by their ``code``, not their class, so that this module does not
import agentd.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from agentd_cli.text import one_line

__all__ = ["CTL", "SERVE", "Exit", "RemoteRaised", "code_of", "sentence_of"]


class Exit(NamedTuple):
    """One exit code, what it means, and the codes of the errors that lead to it."""

    code: int
    meaning: str
    errors: tuple[str, ...] = ()


CTL: Final = (
    Exit(0, "done"),
    Exit(1, "the agent's method raised, or another error of agentd"),
    Exit(2, "wrong usage: an option, an argument or a setting", ("ConfigError",)),
    Exit(3, "no daemon", ("DaemonNotFound",)),
    Exit(4, "no such agent, or the name is taken", ("AgentNotFound", "NameTaken")),
    Exit(5, "the agent could not be created", ("AgentCreationError",)),
    Exit(6, "the agent crashed, or the connection was lost", ("AgentCrashed", "ConnectionLost")),
    Exit(7, "not done in time", ("CallTimeout",)),
    Exit(
        8,
        "not let in: a key or role does not go so far, here or there",
        ("AuthenticationFailed", "NotAllowed", "CodecNotAllowed"),
    ),
    Exit(130, "interrupted by Ctrl-C"),
)

SERVE: Final = (
    Exit(0, "stopped cleanly"),
    Exit(1, "another error"),
    Exit(2, "wrong usage of the command line"),
    # The next two are EX_TEMPFAIL and EX_CONFIG of sysexits.h, so that a supervisor like systemd
    # can retry the one and not the other.
    Exit(75, "another daemon owns the endpoint", ("EndpointInUse",)),
    Exit(78, "a setting is wrong, or not safe", ("ConfigError",)),
)


class RemoteRaised(Exception):
    """The agent's own code raised ``__cause__``, an exception that may have any type."""


def code_of(error: BaseException, table: tuple[Exit, ...]) -> int:
    """Find the exit code for an error: that of its own code, else of its base's, else 1."""
    for cls in type(error).__mro__:
        for row in table:
            if getattr(cls, "code", None) in row.errors:
                return row.code
    return 1


def sentence_of(error: BaseException) -> str:
    """Tell an error as ``code: sentence``, on one line that is safe for a terminal."""
    if isinstance(error, RemoteRaised) and error.__cause__ is not None:
        error = error.__cause__
    name = getattr(error, "code", None)
    if not isinstance(name, str):  # a foreign exception may use the word for something else
        name = type(error).__name__
    text = one_line(str(error))
    return f"{one_line(name)}: {text}" if text else one_line(name)
