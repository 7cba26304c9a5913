"""A client elsewhere that stood still for longer than its lease: it comes back as a new one."""

import signal
import subprocess

import pytest

from tests.faults.doors import Door
from tests.faults.harness import Daemon, wait_until

CLIENT = """
import sys, agentd
client = agentd.connect(sys.argv[1])
client.ping()
print("here", flush=True)
sys.stdin.readline()
print("answered" if client.ping() < 60 else "", flush=True)
"""


@pytest.fixture
def door(tmp_path, monkeypatch):
    made = []

    def build(*, wait, **settings):
        made.append(Daemon(**settings))
        return made[-1]

    one = Door(tmp_path)
    one.grant()
    one.build = build
    monkeypatch.setenv("AGENTD_CONFIG_DIR", one.client)
    yield one
    for daemon in made:
        daemon.end()


def test_who_outlived_its_lease_on_a_connection_that_holds_is_served_again(door, place):
    door.open(door.build, client_grace_s=0.5)
    program = place.run(
        CLIENT, door.endpoint, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "here\n"
    sessions = lambda: door.daemon.client.info()["sessions"]  # noqa: E731
    before = sessions()
    program.send_signal(signal.SIGSTOP)
    wait_until(lambda: sessions() < before, "its lease to run out")
    program.send_signal(signal.SIGCONT)

    program.stdin.write("\n")
    program.stdin.flush()

    assert program.stdout.readline() == "answered\n"
