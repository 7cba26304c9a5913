"""Where ``agentd serve`` listens with which keys: every cell, and nothing unsafe is ever bound."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd import keys
from agentd.config import ServerConfig
from agentd.errors import ConfigError
from agentd.keys import Grant, Role
from agentd.server.daemon import Daemon as Building
from tests.acceptance.harness import BIN, LONG_S, Daemon, environment, wait_until
from tests.machine import has_ipv6

KEY = bytes(range(32))


def _own_address() -> str | None:
    """An address of this host that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


ADDRESSES: dict[str, str | None] = {
    "ipc": "ipc",
    "loopback": "tcp://127.0.0.1:0",
    "all": "tcp://0.0.0.0:0",
    "all of IPv6": "tcp://[::]:0" if has_ipv6() else None,
    "a name": "tcp://localhost:0",
    "own address": f"tcp://{_own_address()}:0" if _own_address() else None,
}


def _grant(folder: str, who: str = keys.who_of(KEY), **more: object) -> None:
    key = KEY if who.startswith("key:") else None
    grant = Grant(who, "me", frozenset({Role.CALLER}), ("*",), ("*",), **more)
    keys.write_grant(folder, grant, key)


def _with_keys(folder: str) -> None:
    keys.make_pair(folder, "server", "s")
    _grant(folder)


def _without_server_key(folder: str) -> None:
    _grant(folder)


def _readable_secret(folder: str) -> None:
    _with_keys(folder)
    Path(keys.pair_path(folder, "server", "secret")).chmod(0o644)


def _unreadable_grants(folder: str) -> None:
    _with_keys(folder)
    shutil.rmtree(keys.authorized_folder(folder))
    Path(keys.authorized_folder(folder)).write_text("")


def _empty_folder(folder: str) -> None:
    keys.make_pair(folder, "server", "s")
    Path(keys.authorized_folder(folder)).mkdir(mode=0o700)


def _open_folder(folder: str) -> None:
    _with_keys(folder)
    Path(keys.authorized_folder(folder)).chmod(0o777)


def _malformed(folder: str) -> None:
    _with_keys(folder)
    Path(keys.authorized_folder(folder), "me.toml").write_text("key")


def _expired(folder: str) -> None:
    keys.make_pair(folder, "server", "s")
    _grant(folder, expires=1.0)


def _users_only(folder: str) -> None:
    keys.make_pair(folder, "server", "s")
    _grant(folder, "uid:12345")


STATES: dict[str, tuple[Callable[[str], None], str]] = {
    "keys": (_with_keys, ""),
    "nothing": (lambda _folder: None, "there is no server key"),
    "no server key": (_without_server_key, "there is no server key"),
    "a secret for all": (_readable_secret, "others can read"),
    "unreadable grants": (_unreadable_grants, "is not a folder"),
    "no grants": (_empty_folder, "no key is authorised"),
    "grants that others can write": (_open_folder, "written by others"),
    "a malformed grant": (_malformed, "no key is authorised"),
    "an expired grant": (_expired, "no key is authorised"),
    "users of this host only": (_users_only, "no key is authorised"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("where", ADDRESSES)
def test_what_is_safe_is_served_and_all_else_refused(where, state, run_dir, tmp_path):
    endpoint = ADDRESSES[where]
    if endpoint is None:
        pytest.skip("this machine has no such address")
    prepare, why = STATES[state]
    folder = str(tmp_path / "config")
    prepare(folder)
    if where == "ipc":
        endpoint = f"ipc://{run_dir}/s"
    why = "" if where == "ipc" else why
    # Each address and each state once as a process; the other cells where it is decided.
    whole = not why or where == "all" or state == "no grants"
    if where == "ipc" and state not in ("keys", "nothing", "unreadable grants"):
        whole = False
    if not whole:
        _is_decided(endpoint, why, run_dir, folder)
    elif why:
        _is_refused(endpoint, why, run_dir, tmp_path, folder)
    else:
        _is_served(endpoint, run_dir, tmp_path, folder)


def _is_decided(endpoint: str, why: str, run_dir: str, folder: str) -> None:
    """Building a daemon opens nothing, and is refused where it must not open anything."""
    config = ServerConfig(bind=(endpoint,), run_dir=f"{run_dir}/agentd", config_dir=folder)
    if why:
        with pytest.raises(ConfigError, match=why):
            Building(config)
    else:
        Building(config)


def _is_served(endpoint: str, run_dir: str, tmp_path: Path, folder: str) -> None:
    where = endpoint if endpoint.startswith("ipc") else f"ipc://{run_dir}/agentd/agentd.sock"
    args = ("--bind", endpoint, "--workers", "1")
    daemon = Daemon(
        *args, run_dir=run_dir, log=tmp_path / "log", endpoint=where, AGENTD_CONFIG_DIR=folder
    )
    try:
        wait_until(lambda: "listening on" in daemon.log, "the daemon to listen")
        if endpoint.startswith("tcp"):
            found = re.search(r"tcp://(\S+):(\d+)", daemon.log)
            assert found is not None
            host = found[1].strip("[]")
            reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            with socket.create_connection((reached, int(found[2])), LONG_S):
                pass
    finally:
        assert daemon.end().code == 0


def _is_refused(endpoint: str, why: str, run_dir: str, tmp_path: Path, folder: str) -> None:
    calls = tmp_path / "calls"
    strace = shutil.which("strace")
    traced = [strace, "-f", "-qq", "-e", "trace=bind,listen", "-o", str(calls)] if strace else []
    done = subprocess.run(
        [*traced, str(BIN / "agentd"), "serve", "--bind", endpoint],
        env=environment(run_dir, AGENTD_CONFIG_DIR=folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    if strace:
        assert calls.read_text() == "", "nothing was bound, not even for a moment"
    assert not os.path.lexists(f"{run_dir}/agentd/agentd.sock")
