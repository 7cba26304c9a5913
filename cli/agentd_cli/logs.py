"""Where the daemon's log records go: to stderr, as lines for people or objects for programs.

The library only makes records, ``log.info("worker lost", extra={"action": "worker_lost", ...})``;
this is the one place that installs a handler.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from agentd_cli.text import escape

__all__ = ["JsonFormatter", "TextFormatter", "configure"]

# What every record has. The rest are the facts that came with ``extra``.
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "message",
    "taskName",
}


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002
    """Send the records of agentd from ``level`` on, and others' warnings, to ``stream``.

    ``format`` is ``text`` or ``json``, ``stream`` is stderr by default. Calling it again replaces
    what the last call did.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.set_name("agentd-cli")
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == handler.get_name()]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("agentd").setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``HH:MM:SS level message key=value``, in local time; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; the action is left out, as the message says it in words."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        parts = [clock, f"{record.levelname.lower():<7}", escape(record.getMessage())]
        parts += [
            f"{escape(key)}={_shown(value)}"
            for key, value in _facts(record).items()
            if key != "action" and value is not None
        ]
        lines = [" ".join(parts)]
        if record.exc_info:
            text = self.formatException(record.exc_info)
            lines += ["    " + escape(line) for line in text.splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, action, message, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; values that JSON has no form for become text."""
        facts = _facts(record)
        moment = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "action": facts.pop("action", None),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # ASCII only: line separators of Unicode would end a line for some readers.
        return json.dumps(entry | {k: v for k, v in facts.items() if k not in entry}, default=str)


def _shown(value: object) -> str:
    text = str(value)
    if not text or not text.isprintable() or any(c in text for c in ' "='):
        return '"' + escape(text).replace('"', '\\"') + '"'
    return text
