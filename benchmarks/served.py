"""A daemon that serves, with a door to TCP and a key to it, as `agentd serve` starts one."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["START_S", "Served", "served"]

START_S = 60.0
_SERVE = "from agentd_cli.serve import main; main()"
_PACKAGES = str(Path(__file__).parent.parent)
"""Where the classes of agents are: as this process found them (see ``child.home``)."""
_BINDS = ("--bind", "tcp://127.0.0.1:0", "--workers", "1")


class Served(NamedTuple):
    """Where it listens, and what is needed to come in over TCP."""

    ipc: str
    tcp: str
    server_key: bytes
    secrets: list[bytes]
    """Of the other keys that may come in."""
    pid: int


@contextlib.contextmanager
def served(settings: str = "", others: int = 0) -> Iterator[Served]:
    """One, with settings as its file has them; this process's keys are those of its client.

    ``others``: how many further keys may come in.
    """
    from agentd import keys

    before = os.environ.get("AGENTD_CONFIG_DIR")
    with tempfile.TemporaryDirectory(prefix="agb", dir="/tmp") as folder:
        server, client, ipc = f"{folder}/server", f"{folder}/client", f"ipc://{folder}/s"
        host = keys.make_pair(server, "server", "server")
        mine = keys.make_pair(client, "client", "bench")
        role = frozenset({keys.Role.DEPLOYER})
        theirs = [keys.make_pair(f"{folder}/{i}", "client", f"other-{i}") for i in range(others)]
        for number, pair in enumerate((mine, *theirs)):
            grant = keys.Grant(keys.who_of(pair.public), f"key-{number}", role, ("*",), ("*",))
            keys.write_grant(server, grant, pair.public)
        log, config = Path(folder, "log"), Path(folder, "agentd.toml")
        config.write_text(settings)
        with log.open("w") as said:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # the agentd of this interpreter, not that of where we are
                    "-c",
                    _SERVE,
                    "serve",
                    "--path",
                    _PACKAGES,
                    "--config",
                    str(config),
                    "--bind",
                    ipc,
                    *_BINDS,
                ],
                env={**os.environ, "AGENTD_CONFIG_DIR": server, "XDG_RUNTIME_DIR": folder},
                stderr=said,
            )
        try:
            tcp = _listening(process, log)
            os.environ["AGENTD_CONFIG_DIR"] = client
            keys.write_pin(client, tcp, host.public, code=True)
            yield Served(ipc, tcp, host.public, [pair.secret for pair in theirs], process.pid)
        finally:
            process.terminate()
            process.wait(START_S)
            if before is None:
                os.environ.pop("AGENTD_CONFIG_DIR", None)
            else:
                os.environ["AGENTD_CONFIG_DIR"] = before


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while True:
        found = re.search(r"tcp://[^\s,]+", log.read_text())
        if found is not None:
            return found[0]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the daemon does not listen: {log.read_text()}")
        time.sleep(0.01)
