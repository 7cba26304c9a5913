"""Two hosts, as network namespaces: keys, a daemon on TCP, calls, and a key that is revoked.

All by the commands of README.md, "Two hosts", and by a script, each on its host.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import LONG_S, ROOT, pause, wait_until
from tests.faults.test_namespaces import Network, why_not

BIN = Path(sys.executable).parent
FAR = "10.0.2.2"
"""The daemon's host, as the other one knows it."""
SCRIPT = """
import agentd

class Counter(agentd.Agent):
    def __init__(self, start): self.value = start
    def add(self, n): self.value += n; return self.value
    def pair(self): return agentd.current_agent()
    def bump(self, other): return other.add(10)

one = Counter(5, to_dist="tcp://10.0.2.2:5577")
other = Counter(100, to_dist="tcp://10.0.2.2:5577")
print(one.add(1), sum(one.add.submit(1).result() for _ in range(3)))
again = one.pair()                      # what comes back means the same agent
print(again.add(1), agentd.handle(again).endpoint)
print(one.bump(other))                  # and so does what goes there
"""


class Host:
    """A network namespace with a home of its own."""

    def __init__(self, namespace: str, home: Path) -> None:
        self.namespace, self.home = namespace, home
        home.mkdir(mode=0o700)
        self.run_dir = home / "run"
        self.run_dir.mkdir(mode=0o700)

    def begin(self, *command: str, **options: object) -> "subprocess.Popen[str]":
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTD_", "XDG_"))}
        path = os.pathsep.join([str(BIN), env.get("PATH", os.defpath)])
        env |= {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run_dir), "PATH": path}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command],
            env={**env, "PYTHONPATH": str(ROOT)}, cwd=self.home, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        process = self.begin(*command)
        out, err = process.communicate(timeout=2 * LONG_S)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def does(self, *command: str) -> str:
        """What the command prints; it has to succeed."""
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    # A socket's path is short, which those of pytest's folders are not.
    base = Path("/tmp") / f"ag2-{os.getpid()}"
    base.mkdir(mode=0o700)
    try:
        with Network() as network:
            yield Host(network.near, base / "near"), Host(network.far, base / "far")
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=False)


def test_two_hosts_in_five_commands(hosts):
    near, far = hosts
    # On the client's host, a key; on the server's, another, and who may come
    near.does("agentctl", "keygen", "client", "--name", "laptop")
    copied = near.home / ".config/agentd/client.pub"
    far.does("agentctl", "keygen", "server")
    told = far.run("agentctl", "keys", "add", str(copied), "--role", "deployer")
    assert (told.returncode, "equals a shell" in told.stderr) == (0, True)
    with _served(far) as daemon:
        pub = far.home / ".config/agentd/server.pub"
        near.does("agentctl", "trust", "add", f"tcp://{FAR}:5577", str(pub), "--code")
        # By a script
        script = near.home / "script.py"
        script.write_text(SCRIPT)
        assert near.does("python", str(script)).splitlines() == [
            "6 24",
            f"10 tcp://{FAR}:5577",
            "110",
        ]
        # By agentctl
        there = ("--endpoint", f"tcp://{FAR}:5577")
        near.does("agentctl", *there, "create", "counter:Counter", "5", "--name", "tally")
        assert near.does("agentctl", *there, "call", "tally", "add", "1") == "6\n"
        assert "tally" in far.does("agentctl", "agents")
        # Somebody without a key, or with one that is not known
        other = Host(near.namespace, near.home / "other")
        assert "agentctl keygen client" in other.run("agentctl", *there, "ping").stderr
        other.does("agentctl", "keygen", "client")
        assert "agentctl trust add" in other.run("agentctl", *there, "ping").stderr
        other.does("agentctl", "trust", "add", f"tcp://{FAR}:5577", str(pub))
        refused = other.run("agentctl", *there, "ping")
        assert (refused.returncode, refused.stderr.split(":")[0]) == (8, "AuthenticationFailed")
        # Revoked while it is running
        following = near.begin("agentctl", *there, "call", "tally", "add", "1")
        following.communicate(timeout=LONG_S)
        assert "laptop" in far.does("agentctl", "keys", "list")
        assert far.run("agentctl", "doctor", "--security").returncode == 0
        far.does("agentctl", "keys", "revoke", "laptop")

        def refused_now() -> bool:
            return near.run("agentctl", *there, "ping").returncode == 8

        wait_until(refused_now, "the key to be refused")
        assert far.does("agentctl", "get", "tally", "value") == "7\n"
        assert daemon.poll() is None


STRAIGHT = """
import pathlib, time
import agentd

class Counter(agentd.Agent):
    def __init__(self): self.value = 0
    def add(self, n): self.value += n; return self.value
    def count(self, n): yield from range(n)

one = Counter(to_dist="tcp://10.0.2.2:5577")
print(one.add(1), flush=True)
while not pathlib.Path("stopped").exists(): time.sleep(0.01)
print(one.add(1), one.add.submit(1).result(), sum(one.count(200)), len(agentd.handle(one).id))
"""


def test_two_hosts_whose_calls_go_straight_to_the_worker(hosts):
    """The daemon stands still meanwhile, on the other host."""
    near, far = (Host(host.namespace, host.home / "straight") for host in hosts)
    near.does("agentctl", "keygen", "client", "--name", "laptop")
    far.does("agentctl", "keygen", "server")
    copied = near.home / ".config/agentd/client.pub"
    far.does("agentctl", "keys", "add", str(copied), "--role", "deployer")
    with _served(far, "--worker-ports", "5600-5609") as daemon:
        pub = far.home / ".config/agentd/server.pub"
        near.does("agentctl", "trust", "add", f"tcp://{FAR}:5577", str(pub), "--code")
        script = near.home / "script.py"
        script.write_text(STRAIGHT)
        running = near.begin("python", str(script))
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "1\n"
            pause(daemon.pid)
            (near.home / "stopped").touch()
            assert running.stdout.readline() == "2 3 19900 32\n"
        finally:
            daemon.send_signal(signal.SIGCONT)
            _, said = running.communicate(timeout=2 * LONG_S)
        assert running.returncode == 0, said


@contextlib.contextmanager
def _served(host: Host, *options: str) -> Iterator["subprocess.Popen[str]"]:
    daemon = host.begin(
        "agentd", "serve", "--bind", "tcp://0.0.0.0:5577", "--workers", "1",
        "--path", str(ROOT / "examples"), *options,
    )  # fmt: skip
    try:
        wait_until(lambda: host.run("agentctl", "ping").returncode == 0, "the daemon")
        yield daemon
    finally:
        daemon.terminate()
        _, log = daemon.communicate(timeout=LONG_S)
        assert daemon.returncode == 0, log
        assert "a defect" not in log
