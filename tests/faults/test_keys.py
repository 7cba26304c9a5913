"""Keys that come, go, end and break while the daemon runs: nobody gets in who does not belong."""

import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgpack
import pytest
import zmq

import agentd
from agentd import keys
from agentd.client.runtime import runtime
from agentd.errors import AuthenticationFailed, ConfigError, DaemonNotFound, TransportError
from agentd.keys import Grant, Role
from agentd.transport.curve import new_pair
from tests.faults.harness import LONG_S, ROOT, Thread, measured, open_to_all, wait_until
from tests.machine import needs_ipv6

LEDGER = "tests.faults.ledger:Ledger"


@pytest.fixture
def start(build):
    """As elsewhere, but not started: a door has to be put in first."""
    return build


@pytest.fixture
def agent(door, start):
    """An agent, over TCP."""
    door.grant()
    return agentd.connect(door.open(start)).create(LEDGER)


def refused(door):
    """Whether a new client with that key is refused, as it is told."""
    with pytest.raises(AuthenticationFailed) as told:
        fresh(door)
    return told.value


def fresh(door):
    """Come in by a connection of its own."""
    session = runtime()._sessions.pop((door.endpoint, False), None)
    if session is not None:
        session.close()
    return agentd.connect(door.endpoint)


def connections(daemon):
    """TCP connections that the daemon has open now."""
    found = 0
    for fd in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            inode = str(fd.readlink())
        except OSError:
            continue
        found += inode in established()
    return found


def established():
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "01"}


def test_everything_works_over_tcp(agent, tmp_path):
    assert agent.add("a") == 1
    assert agent.add.submit("b").result(LONG_S) == 2
    assert agent.add("c") == 3


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6), "localhost"]
)
def test_the_host_may_be_a_name_or_either_kind_of_address(door, start, host):
    door.grant()
    door.open(start, host)
    assert fresh(door).info()["agents"] == 0


def test_a_live_peer_whose_key_is_revoked_is_refused_and_disconnected(door, agent):
    agent.add("before")
    running = Thread(lambda: agent.slow("running", LONG_S))
    witness = door.daemon.client
    wait_until(lambda: witness.info()["sessions"] == 2, "both sessions")
    began = time.monotonic()
    door.revoke()
    assert isinstance(running.done(LONG_S), AuthenticationFailed)
    measured("revoked to refused", time.monotonic() - began)
    wait_until(lambda: connections(door.daemon) == 0, "the connection to end")
    with pytest.raises(AuthenticationFailed):
        agent.add("after")
    assert "agentctl keys add" in str(refused(door))
    wait_until(lambda: witness.info()["agents"] == 0, "the end of what lives with its client")


def test_the_kernel_tells_that_a_grant_has_changed(door, start, tmp_path, monkeypatch):
    """A daemon that would look by itself once an hour."""
    (tmp_path / "sitecustomize.py").write_text(
        "import agentd.server.grantwatch as watch\nwatch.EVERY_S = 3600.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    door.grant()
    agent = agentd.connect(door.open(start)).create(LEDGER)
    for _ in range(2):
        agent.add("before")
        door.revoke()
        with pytest.raises(AuthenticationFailed):
            wait_until(lambda one=agent: one.add("after") < 0, "it to be refused")
        door.grant()
        wait_until(lambda: come_in(door), "it to be let in again")
        agent = agentd.connect(door.endpoint).create(LEDGER)


def come_in(door):
    try:
        return fresh(door)
    except AuthenticationFailed:
        return None


def test_a_key_that_is_added_gets_in_without_a_restart(door, start):
    door.grant()
    door.open(start)
    other = new_pair_of(door, "other")
    assert refused_as(door, other)
    door.grant(other, "other")

    def let_in():
        return not refused_as(door, other)

    wait_until(let_in, "the key to be known")


def new_pair_of(door, name):
    return keys.make_pair(str(Path(door.client).with_name(name)), "client", name)


def refused_as(door, pair):
    """Whether the door stays closed to that key, as the handshake says."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        events = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
        monitor = peer.get_monitor_socket(events)
        secure(peer, pair, door)
        peer.connect(door.endpoint)
        assert monitor.poll(LONG_S * 1000)
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        peer.disable_monitor()
        monitor.close(0)
        return event == zmq.EVENT_HANDSHAKE_FAILED_AUTH


def secure(peer, pair, door):
    peer.setsockopt(zmq.LINGER, 0)
    peer.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
    peer.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
    peer.setsockopt(zmq.CURVE_SERVERKEY, door.pair.public)


def test_a_key_that_expires_is_out(door, start):
    door.grant()
    agent = agentd.connect(door.open(start)).create(LEDGER)
    agent.add("before")
    # Only now, as a daemon may take its time to start; in one step, so that it is never gone.
    file = Path(keys.authorized_folder(door.server), "me.toml")
    until = datetime.datetime.fromtimestamp(time.time() + 3, datetime.UTC)
    new = file.with_suffix(".new")
    new.write_text(f"{file.read_text()}expires = {until:%Y-%m-%dT%H:%M:%SZ}\n")
    new.rename(file)
    running = Thread(lambda: agent.slow("running", LONG_S))
    assert isinstance(running.done(LONG_S), AuthenticationFailed)
    refused(door)


BREAKAGES = {
    "a file gets malformed": lambda place: (place / "me.toml").write_text("key ="),
    "a file gets open to others": lambda place: (place / "me.toml").chmod(0o666),
    "the folder gets open to others": lambda place: place.chmod(0o777),
    "the folder is none any more": lambda place: (
        place.rename(place.with_name("away")),
        place.write_text(""),
    ),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_what_cannot_be_read_lets_nobody_in_and_is_told(door, agent, what):
    agent.add("before")
    running = Thread(lambda: agent.slow("running", LONG_S))
    BREAKAGES[what](Path(keys.authorized_folder(door.server)))
    assert isinstance(running.done(LONG_S), AuthenticationFailed)
    refused(door)
    assert door.daemon.client.info()["sessions"] >= 1  # our own user is let in as before
    assert "grants nothing" in door.daemon.said() or "nobody is let in" in door.daemon.said()


def test_a_broken_file_takes_nothing_from_the_others_and_gives_nothing(door, agent):
    other = new_pair_of(door, "other")
    Path(keys.authorized_folder(door.server), "other.toml").write_text(
        f'key = "{keys.encode_key(other.public)}"\nroles = ["admin"]\n'
    )
    door.daemon.signal(signal.SIGHUP)
    wait_until(lambda: "other.toml" in door.daemon.said(), "the alarm")
    assert refused_as(door, other)
    assert agent.add("still here") == 1


def test_a_storm_of_sighup_is_not_noticed(door, agent):
    for number in range(1, 201):
        door.daemon.signal(signal.SIGHUP)
        if number % 10 == 0:
            assert agent.add(str(number)) == number // 10
    assert door.daemon.process.poll() is None


def test_the_end_of_the_authenticator_is_the_end_of_the_daemon(door, start, tmp_path):
    flag = tmp_path / "break"
    door.grant()
    door.daemon_program = (
        "import os, agentd.transport.zap as zap\n"
        "honest = zap.Authenticator._reply\n"
        "zap.Authenticator._reply = lambda self, request: (\n"
        f"    [object()] if os.path.exists({str(flag)!r}) else honest(self, request))\n"
    )

    def build(**settings):
        daemon = start(**settings)
        daemon.PROGRAM = door.daemon_program + daemon.PROGRAM
        return daemon

    agent = agentd.connect(door.open(build)).create(LEDGER)
    assert agent.add("before") == 1
    flag.touch()
    began = time.monotonic()
    with pytest.raises(TransportError):
        fresh(door)
    assert door.daemon.process.wait(LONG_S) == 1
    measured("authenticator to daemon", time.monotonic() - began)
    assert "the authenticator ended" in door.daemon.said()
    door.daemon.clean()
    door.daemon.forget()


LIES = {
    # What the authenticator answers from then on, and what is said of it. The first may begin when
    # a look has asked the authenticator already, and is on its way to the door.
    "lets everybody in": (
        '[*request[:2], b"200", b"OK", b"key:x", b""]',
        "does not tell a stranger|does not refuse strangers any more",
    ),
    "lets those in who come by TCP": (
        '[*request[:2], b"200", b"OK", b"key:x", b""] if request[3] else honest(self, request)',
        "does not refuse strangers any more",
    ),
    "knows nobody": ('[*request[:2], b"400", b"no", b"", b""]', "does not tell a stranger"),
    "hangs": ("time.sleep(3600)", "does not answer"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_door_that_is_not_kept_any_more_ends_the_daemon(door, start, tmp_path, lie):
    flag = tmp_path / "lie"
    door.grant()
    answer, said = LIES[lie]
    program = (
        "import os, time, agentd.transport.zap as zap\n"
        "import agentd.transport.doorkeeper as keeper\n"
        "keeper.EVERY_S = 0.2\n"
        "honest = zap.Authenticator._reply\n"
        "zap.Authenticator._reply = lambda self, request: (\n"
        f"    ({answer}) if os.path.exists({str(flag)!r}) else honest(self, request))\n"
    )

    def build(**settings):
        daemon = start(**settings)
        daemon.PROGRAM = program + daemon.PROGRAM
        return daemon

    agent = agentd.connect(door.open(build)).create(LEDGER)
    time.sleep(1)  # some looks
    assert agent.add("before") == 1
    flag.touch()
    assert door.daemon.process.wait(LONG_S) == 1
    assert re.search(said, door.daemon.said())
    assert "Traceback" not in door.daemon.said()
    door.daemon.clean()
    door.daemon.forget()


# -- what a client is told -------------------------------------------------------------------------
def test_a_server_with_another_key_is_not_spoken_to(door, start):
    door.grant()
    door.open(start)
    door.trust(new_pair()[0])
    began = time.monotonic()
    with pytest.raises(AuthenticationFailed, match="agentctl trust add"):
        fresh(door)
    measured("wrong server key", time.monotonic() - began)


def test_a_server_that_is_not_trusted_is_not_spoken_to(door, start):
    door.grant()
    door.open(start)
    keys.remove_pin(door.client, door.endpoint)
    with pytest.raises(ConfigError, match=f"agentctl trust add {door.endpoint}"):
        fresh(door)


def test_nobody_there_is_told_at_once(door):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        door.endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        door.trust()
        with pytest.raises(DaemonNotFound, match="no daemon answers"):
            fresh(door)
    door.endpoint = "tcp://no-such-host.invalid:5577"
    door.trust()
    with pytest.raises(DaemonNotFound, match="cannot be found"):
        fresh(door)


def test_somebody_who_says_nothing_is_given_up(door):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        door.endpoint = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        door.trust()
        with pytest.raises((AuthenticationFailed, DaemonNotFound)):
            fresh(door)


# -- who it is -------------------------------------------------------------------------------------
def hello(session):
    return b"AGD1" + msgpack.packb(
        {
            "kind": "hello", "id": 1, "protocol": 1, "agentd": "x", "python": "x", "dill": None,
            "session": session, "pid": os.getpid(), "host": "x", "started": "x", "role": "client",
        }
    )  # fmt: skip


def ask(peer, header):
    peer.send(header)
    assert peer.poll(LONG_S * 1000), "no answer"
    return msgpack.unpackb(peer.recv_multipart()[0][4:])


def test_a_route_that_a_client_chose_is_none(door, start):
    """It might have been another's a moment ago, for whom answers are still on their way."""
    door.grant()
    door.open(start)
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        secure(peer, door.me, door)
        peer.setsockopt(zmq.ROUTING_ID, b"mine")
        peer.connect(door.endpoint)
        assert ask(peer, hello(os.urandom(16)))["code"] == "AuthenticationFailed"


OTHER_USER = 65534
AS_ANOTHER = """
import os, select, sys
sys.path.insert(0, {root!r})
from agentd.transport.local import connect
from agentd.transport.unreachable import Unreachable
os.setgid({uid}); os.setuid({uid})
try:
    peer = connect({path!r}, 10)
    peer.send([bytes.fromhex({hello!r})])
    select.select([peer.fd], [], [], 30)
    messages = peer.receive(1)[0]
    print(messages[0][0][4:].hex() if messages else "nothing")
except (OSError, Unreachable):
    print("nothing")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_another_user_of_this_host_needs_a_grant(door, start):
    def come():
        program = AS_ANOTHER.format(
            root=str(ROOT), uid=OTHER_USER, path=f"{shared}/s", hello=hello(os.urandom(16)).hex()
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        answer = done.stdout.strip()
        return answer if answer == "nothing" else msgpack.unpackb(bytes.fromhex(answer))["kind"]

    door.grant()  # of a key, as for the others
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        Path(shared).chmod(0o755)
        door.daemon = start(wait=False, config_dir=door.server, workers=1)
        door.daemon.settings["bind"] = (f"unix://{shared}/s",)
        door.daemon.endpoint = f"unix://{shared}/s"
        door.daemon.start()
        assert come() == "nothing"
        nobody = Grant(f"uid:{OTHER_USER}", "nobody", frozenset({Role.OBSERVER}), ("*",), ("*",))
        keys.write_grant(door.server, nobody, None)
        wait_until(lambda: Path(shared, "s").stat().st_mode & 0o002, "the door to open")
        assert come() == "welcome"
        Path(shared, "s").chmod(0o666)
        keys.remove_grant(door.server, "nobody")
        wait_until(lambda: not Path(shared, "s").stat().st_mode & 0o002, "the door to close")
        with open_to_all(Path(shared, "s")):
            assert come() == "nothing"
