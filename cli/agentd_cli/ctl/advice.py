"""What a person is told when something went wrong, in words of agentctl.

The sentences of agentd speak to programs written in Python; here they name the option or the
command to type next.
"""

from __future__ import annotations

import os
import shlex
import traceback

from agentd_cli import exits
from agentd_cli.text import escape, one_line

__all__ = ["sentence", "traceback_of"]


def sentence(error: BaseException, endpoint: str | None = None) -> str:
    """Tell the error and what to do about it in one line; ``endpoint`` is the one asked for."""
    text = exits.sentence_of(error)
    match getattr(error, "code", None):
        case "DaemonNotFound":
            return _no_daemon(text, endpoint or os.environ.get("AGENTD_ENDPOINT"))
        case "NameTaken":
            return text.replace(
                "pass get_if_exists=True to use that one", "use that one with --get-if-exists"
            )
        case "AgentCreationError":
            return _and(text, "its output", "logs", error)
        case "AgentCrashed":
            return _crashed(error)
        case "CallTimeout":
            return _and(text, "it goes on, see", "inspect", error)
        case _:
            return text


def traceback_of(error: BaseException) -> str:
    """Write the traceback of what the agent raised; our own way to it would only hide that."""
    if isinstance(error, exits.RemoteRaised) and error.__cause__ is not None:
        error = error.__cause__
    if _is_remote(error):
        error = error.with_traceback(None)
    return "".join(traceback.format_exception(error))


def _is_remote(error: BaseException | None) -> bool:
    """Whether a traceback of another process came along, as a note of it or of its cause."""
    return error is not None and (
        any("Remote traceback" in note for note in getattr(error, "__notes__", ()))
        or _is_remote(error.__cause__)
    )


def _no_daemon(text: str, endpoint: str | None) -> str:
    if "accepts connections" in text:
        return text  # there is one, though silent: a second would be refused
    if "tcp://" in text:
        return text  # it is for somebody there to start
    bind = f" --bind {escape(shlex.quote(endpoint))}" if endpoint else ""
    command = f"tart one with: agentd serve{bind}"
    what, found, _ = text.partition("tart one with:")  # "…; start …" or "…? Start …"
    return what + command if found else f"{text}; s{command}"


def _crashed(error: BaseException) -> str:
    """Leave out last words of many lines: most are a traceback, and nobody asked for one."""
    tail = str(getattr(error, "stderr_tail", None) or "")
    if len(tail.splitlines()) < 2:
        return exits.sentence_of(error)
    what, _, _ = str(error).partition("; its last words:")
    return _and(f"AgentCrashed: {one_line(what)}", "its last words", "inspect", error)


def _and(text: str, why: str, verb: str, error: BaseException) -> str:
    agent = getattr(error, "name", None) or str(getattr(error, "agent", None) or "")[:8]
    return f"{text}; {why}: agentctl {verb} {escape(shlex.quote(agent))}" if agent else text
