"""An embedded daemon: ``python -m agentd.server``, started by a client, settings on stdin.

The first line of standard input is a JSON object: ``parent`` (process id) and ``config`` (fields
of ``ServerConfig``). One line of JSON goes to standard output once clients may come, or saying why
not: ``{"endpoint": …}`` or ``{"error": [code, message]}``.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys

from agentd.server.spawning import spare


def main() -> int:
    """Run until the parent ends."""
    told = sys.stdin.readline()
    if not told:
        return 1  # the client ended before it said what to do
    settings = json.loads(told)
    # Neither in safe mode nor with a user of their own is the workers' environment this one: it has
    # to be made first.
    config = settings["config"]
    first = None if config.get("safe") or config.get("worker_user") else spare()
    from agentd.server.embedded import run  # this takes its time, which the worker uses, too

    return run(settings, first)


def leave(code: int) -> None:
    """End now: all is closed, and to take the interpreter apart keeps the client for 10 ms."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
